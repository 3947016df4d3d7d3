# make demo    set up .venv and run the main job on scikit-learn's digits
# make test    set up what is missing, then formatting, lint, types and the whole test suite
# make lint    formatting, lint and types only
# make setup   only .venv, from requirements.lock

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Processes that run tests; a file's tests stay together, so that what they share is built once.
WORKERS ?= 2

.PHONY: demo test lint setup tools clean

demo: setup
	$(BIN)/edgemill run examples/digits.toml

test: tools lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

setup: .setup/project

tools:
	@.ci/tools

.setup/packages: requirements.lock
	@.ci/tools venv $(PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@mkdir -p .setup && touch $@

.setup/project: .setup/packages pyproject.toml
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf .venv .setup build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
