# Two commands do everything on a machine that has Python 3.11+ and make:
#
#   make climb     install, then watch a small model climb (minutes on a laptop CPU)
#   make test      install, then run the tests
#
# A second call installs nothing; a changed pyproject.toml installs again. `make help` lists the rest.
#
# Variables, all optional:
#   PYTHON=python3.12          the interpreter to build on; by default the first one that will do
#   DEVICE=auto|cpu|gpu        what to install for; auto asks nvidia-smi
#   TORCH_INDEX=URL            where the CPU build of torch comes from when pip, as it is configured,
#                              does not find it; by default PyTorch's public index of CPU wheels
#   EXTRAS=tensorboard,dev     extras of pyproject.toml to install beside the inference engine
#   CONFIG=configs/stem.toml   what `make climb` climbs
#   MACHINE=configs/x.toml     what `make machine` runs
#   ARGS="--num_steps 5"       passed on to `munro climb`, to pytest or to the benchmark; --quick for
#                              half of `make test-cpus`
#   BENCH=verifier             what `make bench` runs: a script of benchmarks/, without ".py"

PYTHON ?=
DEVICE ?= auto
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
EXTRAS ?= tensorboard,dev
CONFIG ?= configs/quickstart.toml
MACHINE ?= configs/machine_tools_tiny.toml
ARGS ?=
BENCH ?= verifier

BIN = .venv/bin
READY = .venv/.ready
# of the extra "docs", which brings all else of Munro's again where it is asked for by name
SITE = "mkdocs-material>=9.6,<10"

export PYTHON DEVICE TORCH_INDEX EXTRAS
# this checkout's munro, whatever checkout an environment was made for
export PYTHONPATH = $(CURDIR)/src

.DEFAULT_GOAL := help
.PHONY: help setup climb machine test test-climbs test-all test-cpus test-gpu check lint fmt bench site clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s%s\n", $$1, $$2}' Makefile

setup: $(READY)  ## install, and nothing else

climb: $(READY)  ## climb CONFIG, by default configs/quickstart.toml
	@$(BIN)/munro climb $(CONFIG) $(ARGS)

machine: $(READY)  ## the whole machine, by default configs/machine_tools_tiny.toml
	@$(BIN)/munro machine $(MACHINE) $(ARGS)

test: $(READY)  ## the tests that fit a laptop; two files at a time, for most of them wait
	@$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "not slow and not climb and not gpu" $(ARGS)

test-climbs: $(READY)  ## whole climbs that are too much for a laptop's patience
	@$(BIN)/python -m pytest -q -m "climb and not slow and not gpu" $(ARGS)

test-all: $(READY)  ## the heavy tests too
	@$(BIN)/python -m pytest -q -m "not gpu" $(ARGS)

test-cpus: $(READY)  ## the numerical tests as on three kinds of processor, with 1 thread and with 2
	@$(BIN)/python -m tests.cpus $(ARGS)

test-gpu: $(READY)  ## the tests that need a CUDA device
	@$(BIN)/python -m pytest -q -m gpu $(ARGS)

check: lint test  ## what must be green before a commit

lint: $(READY)  ## format, lint, types and layers; changes nothing
	@$(BIN)/ruff format --check --quiet . || { echo "make fmt puts the format right"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fmt: $(READY)  ## fix what can be fixed without you
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY)  ## one benchmark: make bench BENCH=verifier
	@$(BIN)/python benchmarks/$(BENCH).py $(ARGS)

site: $(READY)  ## the documentation as a site, in build/site; a broken link stops it
	@$(BIN)/python -c "import material" 2>/dev/null || $(BIN)/python -m pip install -q $(SITE)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

clean:  ## remove the environment and the caches; runs/ stays
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml install.sh Makefile
	@sh install.sh
	@touch $(READY)
