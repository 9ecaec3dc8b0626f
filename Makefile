# Set-up, build, tests and checks. Everything lands in .venv, .stamps, build and beside the native sources;
# `make help` lists the targets.

PYTHON ?= python3
UV ?= uv
WORKERS ?= 2
TESTS ?= tests
PYTEST_ARGS ?=
BENCH_ARGS ?=
SANITIZE_TESTS ?= tests/native

PY := .venv/bin/python
# One client is driven once, so all tests of its group go to one worker.
PYTEST = $(PY) -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)
CLIENTS := $(basename $(notdir $(wildcard tests/clients/*.txt)))
NATIVE := $(shell find native benchmarks -name '*.pyx' -o -name '*.pxd')
SOURCES := $(NATIVE) $(shell find native engine strategies -name '*.py' -o -name '*.pyi')
# What decides how every room is compiled: when one of these changes, the generated C is made anew.
BUILD_RULES := .venv/.dependencies setup.py pyproject.toml

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup build run clients test lint ruff mypy stubs cython-lint bench debug test-debug sanitize test-sanitize lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /: /' | while IFS=: read -r name text; do \
		printf '  %-14s%s\n' "$$name" "$$text"; done

setup: build ## make .venv, install the pinned dependencies, build and link the project

build: .stamps/release .venv/.linked ## compile the native rooms in place

run: setup ## trade a minute with paper money on the embedded exchange
	.venv/bin/remora run

clients: $(CLIENTS:%=.venvs/%/.installed) ## install the venue's clients that tests drive, each in its own .venvs/<name>

test: setup clients ## every test on the release build
	$(PYTEST) $(TESTS)

lint: ruff mypy stubs cython-lint ## ruff, mypy, stubs against the compiled rooms, cython-lint (-k runs all)

ruff: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

mypy: setup
	.venv/bin/mypy

stubs: setup
	$(PY) scripts/check_stubs.py

cython-lint: setup
	PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint native benchmarks

bench: setup ## every benchmark, one after another
	@for bench in $(basename $(notdir $(wildcard benchmarks/bench_*.py))); do \
		echo "== $$bench"; $(PY) -m benchmarks.$$bench $(BENCH_ARGS) || exit 1; done

debug: .stamps/debug ## a copy with every check and assert on, in build/debug/tree

test-debug: setup debug ## every test on the debug build
	REMORA_TREE=build/debug/tree $(PYTEST) $(TESTS)

sanitize: .stamps/sanitize ## a copy under the address and undefined-behaviour sanitizers, in build/sanitize/tree

# The library of the sanitizer must be loaded before Python itself, and its report goes past the captured output.
# Python leaves blocks of its own alive at
# exit, so leaks are not looked for.
test-sanitize: setup sanitize ## the native tests under the sanitizers
	@compiler="$${CC:-gcc}"; asan="$$($$compiler -print-file-name=libasan.so)"; cxx="$$($$compiler -print-file-name=libstdc++.so.6)"; \
	case "$$asan" in /*) ;; *) echo "The sanitizer run needs libasan, which $$compiler lacks; install it or set CC=gcc." >&2; exit 2;; esac; \
	case "$$cxx" in /*) asan="$$asan $$cxx";; esac; \
	set -x; LD_PRELOAD="$$asan" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	REMORA_TREE=build/sanitize/tree $(PY) -m pytest -n $(WORKERS) --capture=sys -m "not captures" $(PYTEST_ARGS) $(SANITIZE_TESTS)

lock: ## write requirements.lock from pyproject.toml (needs uv)
	@command -v $(UV) >/dev/null || { echo "Writing the lock needs uv, found none as '$(UV)'; install it or set UV=/path/to/uv." >&2; exit 2; }
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--no-emit-find-links --extra dev --output-file requirements.lock pyproject.toml

clean: ## remove everything that was built; .venv stays
	rm -rf build .stamps remora.egg-info .mypy_cache .ruff_cache .pytest_cache
	find native benchmarks -name '*.so' -delete

.venv/.dependencies: requirements.lock scripts/preflight.py
	@command -v $(PYTHON) >/dev/null || { echo "Remora needs Python 3.11 or newer, found no '$(PYTHON)'; set PYTHON=/path/to/python." >&2; exit 2; }
	@$(PYTHON) scripts/preflight.py
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r requirements.lock
	@touch $@

# Clients of the venue that others wrote: their pins must not meet ours.
.venvs/%/.installed: tests/clients/%.txt | .venv/.dependencies
	rm -rf .venvs/$*
	if command -v $(UV) >/dev/null; then \
		$(UV) venv --quiet --python $(PY) .venvs/$* && \
		$(UV) pip install --quiet --python .venvs/$*/bin/python --require-hashes --only-binary=:all: -r $<; \
	else \
		$(PY) -m venv .venvs/$* && \
		.venvs/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r $<; \
	fi
	@touch $@

# The link needs no compiled room: the next step compiles them in place.
.venv/.linked: $(BUILD_RULES)
	REMORA_ONLY=none $(PY) -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --no-index -e .
	@touch $@

.stamps/release: $(NATIVE) $(BUILD_RULES)
	$(if $(filter $(BUILD_RULES),$?),rm -rf build/cython-release)
	$(PY) setup.py -q build_ext --inplace
	@mkdir -p .stamps && touch $@

# Python files are copied anew each time, so that a module removed from the sources is gone from the copy too.
.stamps/debug .stamps/sanitize: .stamps/%: $(SOURCES) $(BUILD_RULES)
	$(if $(filter $(BUILD_RULES),$?),rm -rf build/cython-$* build/$*/tree)
	rm -rf build/$*/tree/engine build/$*/tree/strategies
	REMORA_$(if $(filter debug,$*),DEBUG,SANITIZE)=1 $(PY) setup.py -q build --build-lib build/$*/tree
	@mkdir -p .stamps && touch $@
