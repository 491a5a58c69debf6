# What CI runs, but the long tests.
.PHONY: check lint types test slow docs

check: lint types test

lint:
	ruff check .
	ruff format --check .

types:
	mypy cellbench

test:
	pytest

slow:
	pytest -m slow

docs:
	python docs/generate.py
