# The commands of the project. `make help` lists them. The first one sets up .venv by itself; later ones are quick.

PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$python && break; done)
UV_VERSION := 0.13.8
BIN := .venv/bin
INSTALLED := .venv/.installed
WORKERS ?= 2
STAGES := curate shard labels train sample export merge lora evaluate card arena recipe
FAST := not slow and not crash and not dist and not gpu
PYTEST := $(BIN)/python -m pytest --dist loadgroup -n $(WORKERS)

.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(INSTALLED) ## set up .venv with the locked dependencies (python 3.11 to 3.13)

$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "animetune needs python 3.11, 3.12 or 3.13; none was found. Install one, or: make PYTHON=/path/to/python"; exit 3; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $(INSTALLED)

demo: $(INSTALLED) ## draw pictures, train on them on the CPU, show what was learned (runs/demo/index.html)
	$(BIN)/animetune demo

test: $(INSTALLED) ## the fast tests (under 8 minutes on 2 cores)
	$(PYTEST) -m "$(FAST)"

test-slow: $(INSTALLED) ## everything else that needs no GPU: learning, kills, several processes
	$(BIN)/python -m pytest -m "(slow or crash or dist) and not gpu"

test-crash: $(INSTALLED) ## only the tests that kill real processes
	$(BIN)/python -m pytest -m crash

test-dist: $(INSTALLED) ## only the tests with several gloo processes
	$(BIN)/python -m pytest -m dist

bench-data: $(INSTALLED) ## loader, shard writer, labels and plans against others (12 minutes; QUICK=1: only whether they run)
	for name in loader writer labels plan; do $(BIN)/python scripts/bench/$$name.py || exit 1; done

TAGS ?=
bench-curate: $(INSTALLED) ## curation of up to 7 million made-up posts; its work beside others (15 minutes; TAGS=danbooru.csv draws tags by its counts)
	for name in curate curate_peers; do $(BIN)/python scripts/bench/$$name.py $(if $(TAGS),--tags $(TAGS)) || exit 1; done

bench-images: $(INSTALLED) ## pictures against plain Pillow, captions against a server of 50 ms, a folder of 200,000 files (15 minutes)
	for name in images captions folders; do $(BIN)/python scripts/bench/$$name.py || exit 1; done

bench-train: $(INSTALLED) ## Adafactor against transformers'; the training step against diffusers' script (a GPU, 15 minutes)
	for name in adafactor train_step; do $(BIN)/python scripts/bench/$$name.py || exit 1; done

check: $(INSTALLED) ## lint, format, types, import layers, batch scripts and containers, every shipped config
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck scripts/slurm/*.sbatch .ci/run
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	$(BIN)/kubernetes-validate --quiet --strict docker/kubernetes/*.yaml
	$(BIN)/animetune config check configs/*.yaml configs/demo/*.yaml configs/recipes/*/*.yaml

docs: $(INSTALLED) ## write docs/reference/ anew, one page of settings a stage
	for stage in $(STAGES); do $(BIN)/animetune config reference $$stage > docs/reference/$$stage.md || exit 1; done

lock: ## compile requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
		--python-version 3.11 --extra dev --extra bench --extra s3 --extra onnx --extra ray --extra arena pyproject.toml -o requirements.lock

clean: ## remove .venv and the demo's output
	rm -rf .venv runs/demo

.PHONY: help install demo test test-slow test-crash test-dist bench-data bench-curate bench-images bench-train check docs lock clean
