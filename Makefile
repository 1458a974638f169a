# The two commands of the README, `systems` and `priors`. Each sets up its own virtual environment first; nothing else needs to be
# installed.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN = $(VENV)/bin
export LIPFLOW_CORE_CACHE ?= $(abspath $(DEMO)/captures)

# `make systems`: every shipped spec for one subject, and two tables. Those that nothing drives are in both.
SYSTEMS ?= systems
PRESET ?= small
UNDRIVEN ?= dam dam-kl-1 dam-annealed dam-flow dam-flow-affine dam-flow-affine-clamped
HEADSET ?= dam-hmc-encoder dam-hmc-regressor lip-kl-hmc lip-kl-hmc-annealed \
	lip-flow-hmc lip-flow-hmc-affine lip-flow-hmc-affine-clamped
KEYPOINT ?= dam-keypoint-encoder dam-keypoint-regressor lip-kl-keypoint lip-kl-keypoint-annealed \
	lip-flow-keypoint lip-flow-keypoint-affine lip-flow-keypoint-affine-clamped
# Learning rates are relative to the spread of the codes, which differs: each system's is chosen on a first batch.
COMPARE = evaluate --without-likelihood 'fitting.grid={}'
KEYPOINTS_ONLY = 'fitting.objectives=[keypoint, {type: latent-likelihood, weight: 0.01}]'

# `make priors`: one system with each prior that a driving encoder can have, otherwise the same, and a table.
PRIORS ?= priors
PRIOR ?= kl mixture flow flow-entropy-kept flow-student flow-matching
kl = prior=kl flow=null
mixture = prior=mixture flow=null
flow = prior=flow
flow-entropy-kept = prior=flow prior.posterior_entropy=keep
flow-student = prior=flow-student
flow-matching = prior=flow-matching flow=null

.PHONY: demo systems priors test fuzz kill lint clean

demo: $(VENV)/.ready
	$(BIN)/lipflow-core train dam preset=small --out $(DEMO)/dam --resume
	$(BIN)/lipflow-core train lip-flow-hmc preset=small --out $(DEMO)/lip-flow-hmc --resume
	$(BIN)/lipflow-core evaluate $(DEMO)/dam $(DEMO)/lip-flow-hmc --out $(DEMO)/evaluation
	$(BIN)/lipflow-core report $(DEMO)/evaluation --out $(DEMO)/report.html
	@echo "Open $(DEMO)/report.html"

systems: $(VENV)/.ready
	set -e; for system in $(UNDRIVEN) $(HEADSET) $(KEYPOINT); do \
		echo "training $$system"; \
		$(BIN)/lipflow-core train $$system preset=$(PRESET) --out $(SYSTEMS)/$$system --resume; \
	done
	$(BIN)/lipflow-core $(COMPARE) $(UNDRIVEN:%=$(SYSTEMS)/%) $(HEADSET:%=$(SYSTEMS)/%) --out $(SYSTEMS)/fitted-to-headset
	$(BIN)/lipflow-core $(COMPARE) $(KEYPOINTS_ONLY) $(UNDRIVEN:%=$(SYSTEMS)/%) $(KEYPOINT:%=$(SYSTEMS)/%) \
		--out $(SYSTEMS)/fitted-to-keypoints
	$(BIN)/lipflow-core report $(SYSTEMS)/fitted-to-headset --out $(SYSTEMS)/headset.html
	$(BIN)/lipflow-core report $(SYSTEMS)/fitted-to-keypoints --out $(SYSTEMS)/keypoints.html

priors: $(VENV)/.ready
	set -e; $(foreach prior,$(PRIOR),echo "training with prior $(prior)"; \
		$(BIN)/lipflow-core train lip-flow-hmc name=$(prior) $($(prior)) training.stages.0.objectives.divergence.weight=0.01 \
			preset=$(PRESET) --out $(PRIORS)/$(prior) --resume;)
	$(BIN)/lipflow-core $(COMPARE) $(PRIOR:%=$(PRIORS)/%) --out $(PRIORS)/evaluation
	$(BIN)/lipflow-core report $(PRIORS)/evaluation --out $(PRIORS)/report.html

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

clean:
	rm -rf $(VENV) $(DEMO) $(SYSTEMS) $(PRIORS)

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lipflow-core needs Python 3.11 or newer; say: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch hatchling editables
	$(INSTALL) --no-build-isolation --editable '.[report]'
	touch $@

$(VENV)/.ready-for-tests: $(VENV)/.ready
	$(INSTALL) --no-build-isolation --editable '.[report,dev,warp]'
	touch $@
