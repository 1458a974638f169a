# The two commands of the README. Each sets up its own virtual environment first; nothing else needs to be installed.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN = $(VENV)/bin
export LIPFLOW_CORE_CACHE ?= $(abspath $(DEMO)/captures)

.PHONY: demo test lint clean

demo: $(VENV)/.ready
	$(BIN)/lipflow-core train dam preset=small --out $(DEMO)/dam --resume
	$(BIN)/lipflow-core train lip-flow-hmc preset=small --out $(DEMO)/lip-flow-hmc --resume
	$(BIN)/lipflow-core evaluate $(DEMO)/dam $(DEMO)/lip-flow-hmc --out $(DEMO)/evaluation
	$(BIN)/lipflow-core report $(DEMO)/evaluation --out $(DEMO)/report.html
	@echo "Open $(DEMO)/report.html"

test: $(VENV)/.ready
	LIPFLOW_CORE_CACHE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q

lint: $(VENV)/.ready
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(DEMO)

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lipflow-core needs Python 3.11 or newer; say: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --editable '.[report,dev]'
	touch $@
