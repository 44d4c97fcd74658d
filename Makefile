# Each target builds its own virtual environment from constraints.txt and needs nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test types docs bench

demo: $(VENV)/.installed
	$(BIN)/python -m lavalike demo

test: $(VENV)/.installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -n auto

# a user's program as an editor sees it, where mypy has checked the sources
types: $(VENV)/.types
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# the site, in build/site; a warning, a dead link between pages among them, is an error
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going --quiet -c docs . build/site

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

# torch first: on some machines any other way brings gigabytes of CUDA
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(VENV)/.types: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[types]'
	touch $@
