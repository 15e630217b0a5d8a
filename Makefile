# Two commands matter: `make demo` and `make test`. Everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := --constraint constraints.txt --build-constraint constraints.txt
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
JOBS ?= 2
# Other libraries, for benchmarks/ only; one of them needs an older NumPy.
PEERS := .venv-peers
MEASURED := $(PEERS)/bin/python -W ignore -m benchmarks

# One thread a process: the numbers repeat, and two test processes share two cores fairly.
export OMP_NUM_THREADS := 1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint docs slow bench format constraints clean

help: ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

demo: $(RUNTIME) ## install what is needed, then audit two models trained on digits
	@$(BIN)/trilemma demo

test: $(DEV) lint docs ## the whole gate: format, lint, types, room contracts, docs, tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(DEV) ## format, lint, types, room contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

docs: $(DEV) ## build the site into docs/_build/html; a warning is an error
	@$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo "docs: docs/_build/html/index.html"

slow: $(DEV) ## the tests that the gate leaves out, some beside other implementations
	@$(PIP) install --quiet $(PINS) --group references
	@$(BIN)/python -m pytest -m slow

bench: $(PEERS)/.installed ## the attacks' speed beside other libraries' (hours; see benchmarks/README.md)
	@$(MEASURED).pgd
	@$(MEASURED).hop_skip_jump
	@$(MEASURED).autoattack
	@$(MEASURED).autoattack --verdicts
	@$(MEASURED).memory
	@$(MEASURED).profile
	@$(MEASURED).attacks
	@$(MEASURED).bounds
	@$(MEASURED).label_only
	@$(MEASURED).stealing
	@$(MEASURED).references
	@$(MEASURED).table

format: $(DEV) ## write the code as the gate wants it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

constraints: ## resolve constraints.txt anew from the newest releases
	bash scripts/constraints.sh $(PYTHON)

clean: ## remove what was built, .venv too
	rm -rf $(VENV) $(PEERS) build dist docs/_build docs/generated .mypy_cache .ruff_cache .pytest_cache \
	  .hypothesis .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "trilemma needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

# A stamp older than what it was installed from is out of date; otherwise nothing is asked of pip.
$(RUNTIME): $(BIN)/python pyproject.toml constraints.txt
	@echo "installing trilemma and PyTorch into $(VENV) (minutes, the first time)"
	@$(PIP) install --quiet --constraint constraints.txt pip
	@$(PIP) install --quiet $(PINS) --editable '.[torch]'
	@touch $@

$(DEV): $(RUNTIME)
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --quiet $(PINS) --editable '.[all]' --group dev
	@touch $@

$(PEERS)/.installed: pyproject.toml constraints.txt
	@echo "installing trilemma and what it is compared with into $(PEERS)"
	@$(PYTHON) -m venv --clear $(PEERS)
	@grep -v '^numpy==' constraints.txt >$(PEERS)/constraints.txt
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet \
	  --constraint $(PEERS)/constraints.txt pip
	@$(PEERS)/bin/python -m pip install --quiet --constraint $(PEERS)/constraints.txt \
	  --editable '.[torch]' --group peers
	@$(PEERS)/bin/python -m pip install --quiet --no-deps torchattacks adv-lib
	@touch $@
