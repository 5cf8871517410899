# make run: set up, run the embedded default (demo backbone on sample).  make test: set up, pass the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run setup test test-long test-fast lint docs gpu-check results clean

run: setup
	$(BIN)/magiqa evaluate

setup: $(VENV)/.done

# torchvision comes with open_clip; naming both lets pip choose a matching pair
$(VENV)/.done: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "magiqa needs Python >= 3.11: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch torchvision open_clip_torch
	$(BIN)/pip install --quiet --editable '.[dev,docs,openvino]'
	touch $@

test: setup lint
	$(BIN)/pytest -n auto --dist loadfile -m 'not long'

test-long: setup
	$(BIN)/pytest -n auto --dist loadfile -m long

test-fast: setup
	$(BIN)/pytest -n auto --dist loadfile -m 'not slow and not long'

# on a machine with a GPU, ten minutes: a JSON file and a table for LOG.md
DEVICE ?= auto
gpu-check: setup
	$(BIN)/python scripts/gpu_check.py --device $(DEVICE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What is committed under results/demo and results/probe, byte for byte: make results AGIQA3K=DIR. The batch size is given, since another
# one rounds a feature differently (1e-7)
RUNS ?= results/runs/demo
results: setup
	$(if $(AGIQA3K),,$(error say where the data set lies: make results AGIQA3K=DIR))
	$(BIN)/python scripts/evaluate_demo.py --agiqa3k $(AGIQA3K) --runs $(RUNS) engine=torch batch_size=5 cache_engine=same
	rm -rf results/demo/report
	$(BIN)/magiqa probe engine=torch batch_size=5 cache_engine=same out=results/probe/demo
	$(BIN)/python scripts/reproduce.py --sets sample,agiqa3k --root agiqa3k=$(AGIQA3K) --without ablation-grid,ablation-stride,ablation-positional_embedding,ablation-backbones,ablation-precision \
	  --out $(RUNS) --report results/demo/report --no-thumbnails backbone=demo engine=torch batch_size=5 cache_engine=same

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
