# Everything a newcomer needs: each target creates what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo
PYTEST_ARGS ?=
WORKERS ?= 2
FUZZ_COUNT ?= 2000
PEERS := .peers
PEERS_ARGS ?= --write docs/comparison.md
OTHERS := $(basename $(notdir $(wildcard benchmarks/peers/requirements/*.txt)))

.PHONY: help demo test lint format coverage-grid layer-sums bench peers counts fuzz wheel clean

help:
	@echo "make demo    joules per inference of a small model, in under 90 s"
	@echo "make test    install what the tests need and run them"
	@echo "make lint    ruff and mypy"
	@echo "make format  let ruff format the code"
	@echo "make bench   speed and memory, as ratios in one run"
	@echo "make peers   beside other tools, on one simulated machine, into docs/comparison.md"
	@echo "make counts  parameters of real networks in every format, beside their framework"
	@echo "make coverage-grid  how often the intervals hold the truth, into docs/coverage.md"
	@echo "make layer-sums  whether the layers of 20 networks add up to the whole; half an hour"
	@echo "make fuzz    2,000 damaged models of every format; failures are kept in .fuzz/"
	@echo "make wheel   build the wheel into dist/"
	@echo "make clean   remove what the targets made"

$(DEMO)/installed: setup.cfg pyproject.toml $(shell find greenai_core plugins -name '*.py')
	@test -x $(DEMO)/venv/bin/python || $(PYTHON) -m venv $(DEMO)/venv
	@echo "installing greenai-core[onnx] into $(DEMO)/venv ..."
	@$(DEMO)/venv/bin/python -m pip install --quiet --disable-pip-version-check '.[onnx]'
	@touch $@

demo: $(DEMO)/installed
	@$(DEMO)/venv/bin/greenai devices
	@$(DEMO)/venv/bin/greenai bench examples/models/small_cnn.onnx --max-time 10 --out $(DEMO)/report

$(VENV)/installed: setup.cfg pyproject.toml tests/requirements.txt tests/constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c tests/constraints.txt -r tests/requirements.txt -e .
	@# Without torchvision, which it asks for and whose builds fit one PyTorch only.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c tests/constraints.txt --no-deps onnx2torch
	@touch $@

test: $(VENV)/installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

coverage-grid: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check matplotlib
	$(BIN)/python benchmarks/coverage_grid.py --workers $(WORKERS)

layer-sums: $(VENV)/installed
	$(BIN)/python benchmarks/layer_sums.py --layer-time 1 --top 6

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

# Each tool in an environment of its own; one that cannot be installed is left out and named.
$(PEERS)/%/installed: benchmarks/peers/requirements/%.txt
	@test -x $(PEERS)/$*/bin/python || $(PYTHON) -m venv $(PEERS)/$*
	@echo "installing $* into $(PEERS)/$* ..."
	@$(PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $< \
		2> $(PEERS)/$*/pip.log && touch $@ || tail -1 $(PEERS)/$*/pip.log

$(PEERS)/greenai/installed: setup.cfg pyproject.toml $(shell find greenai_core plugins -name '*.py')
	@test -x $(PEERS)/greenai/bin/python || $(PYTHON) -m venv $(PEERS)/greenai
	@echo "installing greenai-core[nvidia] into $(PEERS)/greenai ..."
	@$(PEERS)/greenai/bin/python -m pip install --quiet --disable-pip-version-check '.[nvidia]'
	@touch $@

# Needs root, for its own mount namespace.
peers: $(VENV)/installed $(PEERS)/greenai/installed $(OTHERS:%=$(PEERS)/%/installed)
	$(BIN)/python benchmarks/peers $(PEERS_ARGS)

counts: $(VENV)/installed
	$(BIN)/python benchmarks/counts.py

fuzz: $(VENV)/installed
	$(BIN)/python tests/fuzz/fuzz_run.py --count $(FUZZ_COUNT)

wheel: $(VENV)/installed
	rm -rf build
	$(BIN)/python -m build --outdir dist .

clean:
	rm -rf $(VENV) $(DEMO) $(PEERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .fuzz
