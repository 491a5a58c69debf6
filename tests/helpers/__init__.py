"""What several tests need: cells, data, runs, processes. Tests import helpers, never each other."""
