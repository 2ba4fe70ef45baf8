# The loop of a day's work. `make help` lists it; CI runs the same commands.
#
# Everything lives in .venv, which `make setup` makes once and renews only when the lock or pyproject.toml changes.
# No command of .venv is run by its own name where `python -m` can do it, so a moved checkout fails early and clearly.

SHELL := /bin/sh
.SHELLFLAGS := -euc
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
ARGS ?=
BENCH_SECONDS ?= 10
BENCH_RATE ?= 200
SEED ?= 0
ENGINES ?= hotstuff pbft
JOBS ?= 3
FUZZ_SECONDS ?= 600

# The interpreter .venv is made from: PYTHON=... chooses. Else the first python3, python3.12 or python3.11 in PATH that is
# 3.11 or 3.12 and can make a virtual environment, unless another there is faster by a quarter: one that was built without
# profile-guided optimisation (as version managers do unless told) takes up to 1.8 times as long for the same Python.
PYTHON ?=
PYTHON_NAMES := python3 python3.12 python3.11
VERSION_CHECK := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
define PYTHON_PROBE
import sys, timeit
sys.exit(1) if not (3, 11) <= sys.version_info[:2] <= (3, 12) else None
import importlib.util
import venv
sys.exit(1) if not any(map(importlib.util.find_spec, ("ensurepip", "pip"))) else None
kind = "class Kind:\n    def __init__(self, a): self.a = a\n    def add(self, b): return self.a + b"
print(round(min(timeit.repeat("for i in range(1000): Kind(i).add(i)", kind, number=20, repeat=15)) * 1e6))
endef
export PYTHON_PROBE

PIP_FLAGS := --quiet --disable-pip-version-check --no-input

.PHONY: help setup test test-long fuzz-long check format demo sim sim-long mutants library bench bench-pricing determinism lock lock-bench \
    clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.kernels ## make .venv, install the pinned dependencies and the project, compile the kernels

# A virtual environment without pip of its own (some distributions split it off) is filled by the interpreter's pip.
$(VENV)/.installed: requirements.lock pyproject.toml
	@python="$(PYTHON)"; best=0; names="$(PYTHON_NAMES)"; \
	if [ -n "$$python" ] || $(PY) -c '$(VERSION_CHECK)' >/dev/null 2>&1; then names=""; fi; \
	for name in $$names; do \
	    IFS=:; for folder in $$PATH; do \
	        cost=$$("$$folder/$$name" -c "$$PYTHON_PROBE" 2>/dev/null) || continue; \
	        if [ -z "$$python" ] || [ $$((cost * 5)) -lt $$((best * 4)) ]; then python="$$folder/$$name"; best=$$cost; fi; \
	    done; unset IFS; \
	done; \
	python="$${python:-$(PY)}"; \
	if ! "$$python" -c '$(VERSION_CHECK)' >/dev/null 2>&1; then \
	    echo "Novate needs Python 3.11 or 3.12 with its venv module; in PATH there is none as $(PYTHON_NAMES). Name one: make setup PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	fi; \
	if ! $(PY) -c '$(VERSION_CHECK)' >/dev/null 2>&1 || [ -n "$(PYTHON)" ]; then \
	    echo "Making $(VENV) with $$("$$python" --version), $$python"; \
	    "$$python" -m venv --clear $(VENV) >/dev/null 2>&1 || "$$python" -m venv --clear --without-pip $(VENV); \
	fi; \
	pip="$(PY) -m pip"; $$pip --version >/dev/null 2>&1 || pip="$$python -m pip --python $(PY)"; \
	echo "Installing the pinned dependencies"; \
	$$pip install $(PIP_FLAGS) --require-hashes -r requirements.lock; \
	$$pip install $(PIP_FLAGS) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .; \
	touch $@

COMPILE := from contracts import kernels; kernels.self_test(); kernels.kernel_hash(); \
    from node import signatures; signatures.self_test()
KERNEL_FILES := contracts/compiled.py contracts/merkle.py node/signatures.py $(shell find contracts -name '*kernel.py')
# Compiled once here, because several validators that compile the same kernels at once would fight for the cache.
$(VENV)/.kernels: $(VENV)/.installed $(KERNEL_FILES)
	@echo "Compiling the kernels"; $(PY) -c '$(COMPILE)'; touch $@

# One worker more than two cores: whoever runs a network of processes mostly waits (tests/schedule.py). Bytecode is kept
# whatever the environment says, or each of some hundred processes would compile the project anew.
test: setup ## run the tests (ARGS=... goes to pytest)
	@PYTHONDONTWRITEBYTECODE= $(PY) -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

test-long: setup ## what takes minutes: a validator stopped for a real minute, a million runs of the contract machine
	@NOVATE_LONG=1 $(PY) -m pytest -m long $(ARGS)

# Each round draws new examples; what it finds is kept in .hypothesis and tried first the next time.
fuzz-long: setup ## damage every decoder's input for FUZZ_SECONDS (600)
	@end=$$(( $$(date +%s) + $(FUZZ_SECONDS) )); \
	while [ "$$(date +%s)" -lt "$$end" ]; do \
	    NOVATE_FUZZ_EXAMPLES=500 $(PY) -m pytest tests/fuzz -k "mutated or noise or valid" $(ARGS); \
	done

check: setup ## format, lint, types, layers, tidiness
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(BIN)/lint-imports
	@$(PY) -m pytest tests/test_tidy.py

format: setup ## rewrite the code in the house format
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

demo: setup ## settle a real expiry on four validators (ARGS=--exit, ARGS="--tape FILE")
	@$(PY) -m cli.main demo $(ARGS)

sim: setup ## simulate a network under seeded faults (SEED=7, ARGS="--validators 7")
	@$(PY) -m cli.main sim --seed $(SEED) $(ARGS)

sim-long: setup ## 10,000 seeds at n = 4 and 1,000 at n = 7, every fault, both engines, all cores
	@for engine in $(ENGINES); do \
	    $(PY) -m cli.main sim --engine $$engine --seeds 0:10000 $(ARGS); \
	    $(PY) -m cli.main sim --engine $$engine --seeds 0:1000 --validators 7 $(ARGS); \
	done

mutants: setup ## every safety rule and every defence taken out in turn: the simulator, or the row's test, must fail
	@NOVATE_MUTANTS=1 $(PY) -m pytest tests/mutants tests/defences tests/contracts/vm/test_mutants.py $(ARGS)

library: setup ## compile the exchange's and the ACTUS programs anew into contracts/library/*.py
	@for each in exchange actus; do $(PY) -m tests.contracts.exchange_library $$each > $(VENV)/$$each.py \
		&& mv $(VENV)/$$each.py contracts/library/$$each.py || exit 1; done

bench: setup ## measure four validators with each engine: throughput, then latency at BENCH_RATE a second
	@for engine in $(ENGINES); do \
	    $(PY) -m cli.main bench testnet --consensus $$engine --seconds $(BENCH_SECONDS) $(ARGS); \
	    $(PY) -m cli.main bench testnet --consensus $$engine --seconds $(BENCH_SECONDS) --rate $(BENCH_RATE) $(ARGS); \
	done

# The peers live beside the product's packages, not among them.
$(VENV)/.peers: $(VENV)/.installed benchmarks/requirements.lock
	@rm -rf $(VENV)/peers; \
	pip="$(PY) -m pip"; $$pip --version >/dev/null 2>&1 || pip="python3 -m pip --python $(PY)"; \
	$$pip install $(PIP_FLAGS) --require-hashes --no-deps --target $(VENV)/peers -r benchmarks/requirements.lock; \
	touch $@

bench-pricing: setup $(VENV)/.peers ## measure prices, greeks and implied volatilities against QuantLib, py_vollib, NumPy with SciPy
	@PYTHONPATH=$(VENV)/peers $(PY) -m benchmarks.bench_pricing $(ARGS)

$(VENV)/.other-numba: $(VENV)/.installed benchmarks/other-numba.lock
	@rm -rf $(VENV)/other-numba; \
	pip="$(PY) -m pip"; $$pip --version >/dev/null 2>&1 || pip="python3 -m pip --python $(PY)"; \
	$$pip install $(PIP_FLAGS) --require-hashes --no-deps --target $(VENV)/other-numba -r benchmarks/other-numba.lock; \
	touch $@

# Where no AArch64 can be had, this says why, and the matrix says that the line was not run.
$(VENV)/.aarch64: $(VENV)/.installed requirements.lock benchmarks/aarch64.py
	@pip="$(PY) -m pip"; $$pip --version >/dev/null 2>&1 || pip="python3 -m pip --python $(PY)"; \
	if $(PY) -m benchmarks.aarch64 "$$pip install $(PIP_FLAGS)"; then touch $@; fi

determinism: setup $(VENV)/.other-numba $(VENV)/.aarch64 ## one hash of a grid of prices under every processor, optimisation, C library and Numba at hand; AArch64 too
	@$(PY) -m benchmarks.determinism $(ARGS)

# No index, no path of this machine, and one version of each package for every Python: the same bits wherever it installs.
LOCK_HEAD := \# Every dependency, its exact version and the digests of its files, for Python 3.11 and 3.12. Written by `make lock`.\n\# pip takes the files from whatever index it is configured with and refuses one whose digest is not listed here.\n
BENCH_LOCK_HEAD := \# What `make bench-pricing` compares with, and nothing that the product needs: exact versions and digests.\n\# Written by `make lock-bench` from requirements.in; pip takes the files from whatever index it is configured with.\n
lock: setup ## resolve the dependencies anew and write requirements.lock
	@$(PY) -m pip install $(PIP_FLAGS) uv
	@$(PY) -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --fork-strategy fewest \
	    --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links --upgrade --quiet \
	    --output-file $(VENV)/requirements.lock
	@printf '$(LOCK_HEAD)' | cat - $(VENV)/requirements.lock > requirements.lock

# NumPy is the product's own, in the version of the product's lock.
lock-bench: setup ## resolve the peers of `make bench-pricing` anew and write benchmarks/requirements.lock
	@$(PY) -m pip install $(PIP_FLAGS) uv
	@$(PY) -m uv pip compile benchmarks/requirements.in --constraint requirements.lock --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	    --no-emit-package numpy --upgrade --quiet --output-file $(VENV)/peers.lock
	@printf '$(BENCH_LOCK_HEAD)' | cat - $(VENV)/peers.lock > benchmarks/requirements.lock

clean: ## remove .venv and every cache
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
