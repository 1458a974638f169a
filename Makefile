# The two commands of the README, and longer ones. Each sets up its own virtual environment first; nothing else needs to be
# installed.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN = $(VENV)/bin
export LIPFLOW_CORE_CACHE ?= $(abspath $(DEMO)/captures)

# `make systems`, `make priors`, `make paper`: grids of specs/ablations/, by the same command again where they stopped.
PRESET ?= small
WORKERS ?= 2

.PHONY: demo systems priors paper test fuzz kill lint docs clean

demo: $(VENV)/.ready
	$(BIN)/lipflow-core train dam preset=small --out $(DEMO)/dam --resume
	$(BIN)/lipflow-core train lip-flow-hmc preset=small --out $(DEMO)/lip-flow-hmc --resume
	$(BIN)/lipflow-core evaluate $(DEMO)/dam $(DEMO)/lip-flow-hmc --out $(DEMO)/evaluation
	$(BIN)/lipflow-core report $(DEMO)/evaluation --out $(DEMO)/report.html
	@echo "Open $(DEMO)/report.html"

systems priors paper: $(VENV)/.ready
	$(BIN)/lipflow-core ablate $@ preset=$(PRESET) --workers $(WORKERS) --out ablations/$@

test: lint
	LIPFLOW_CORE_CACHE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

# `make fuzz COUNT=1000 FIRST=300`: so many mutated specs, overrides, models, captures and results, from this seed on.
COUNT ?= 10000
FIRST ?= 0
fuzz: $(VENV)/.ready-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/fuzz_run.py --count $(COUNT) --first $(FIRST)

# `make kill KILLS=10`: so many kills of each long command, each followed by the same command.
KILLS ?= 100
kill: $(VENV)/.ready-for-tests
	OMP_NUM_THREADS=1 $(BIN)/python tests/fuzz/kill_run.py --count $(KILLS)

lint: $(VENV)/.ready-for-tests
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# The site, docs/_build/index.html, from the pages and from what the code says of itself. It asks no network.
docs: $(VENV)/.ready-for-docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build
	@echo "Open docs/_build/index.html"

clean:
	rm -rf $(VENV) $(DEMO) docs/_build docs/generated

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lipflow-core needs Python 3.11 or newer; say: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch hatchling editables
	$(INSTALL) --no-build-isolation --editable '.[report]'
	touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready
	$(INSTALL) --no-build-isolation --editable '.[report,dev,docs,warp]'
	touch $@

$(VENV)/.ready-for-docs: $(VENV)/.ready
	$(INSTALL) --no-build-isolation --editable '.[report,docs]'
	touch $@
