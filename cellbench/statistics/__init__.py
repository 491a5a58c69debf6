"""The method: numpy arrays in, small frozen dataclasses out. Needs numpy and scipy alone.

- `survival`: steps to solved when some replicas never solve
- `intervals`: an estimate and its t interval; shares (Wilson), means of accuracies (Gaffke), seeds needed
- `learning_rate`: one number per seed when several rates were tried: picked on other seeds, or averaged
- `comparison`: two cells, pooled over points; Holm; does the ratio depend on an axis
- `looks`: seeds until decided: looks, their shares of the 5 %, and the replay that decides
"""
