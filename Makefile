# SPDX-License-Identifier: Apache-2.0
# Every target sets up .venv by itself, from a Python 3.11 to 3.13 on the path and the pinned constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The first interpreter that qualifies; name another with `make PYTHON=…`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo "$$python" && break; done)
BIN := .venv/bin
READY := .venv/.ready
BENCH_READY := .venv/.ready-bench
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_VERSION := 26.3
INPUTS := pyproject.toml runtime/pyproject.toml converter/pyproject.toml constraints.txt
EXTRAS := boosting,lz4,tables

.PHONY: help demo test test-all check bench models constraints clean

help:  ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 14

demo: $(READY)  ## Real bars, legacy pickles, scan, migrate, verify, predict
	@$(BIN)/python -m examples.demo

test: $(READY)  ## The tests, but for those marked slow
	$(BIN)/python -m pytest -n auto

test-all: $(READY)  ## All tests
	$(BIN)/python -m pytest -n auto -m ''

check: $(READY)  ## Format, lint, types, imports, docstrings, README
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py examples/legacy_estate
	$(BIN)/lint-imports
	$(BIN)/interrogate --config pyproject.toml --quiet runtime converter scripts
	$(BIN)/python scripts/check_readme.py
	$(BIN)/python scripts/build_docs.py --check

bench: $(BENCH_READY)  ## Ratios: prediction, verified load, scan
	@nice $(BIN)/python -m tests.bench

models: $(READY)  ## Rebuild the signed sample store in models/
	$(BIN)/python -m examples.sample_store --out models

constraints: $(BENCH_READY)  ## Renew constraints.txt from what is installed
	@{ grep '^#' constraints.txt; $(PIP) freeze --exclude-editable --exclude pip | tr 'A-Z_' 'a-z-' | LC_ALL=C sort; } \
		> .venv/constraints.txt
	@mv .venv/constraints.txt constraints.txt

clean:  ## Remove what the targets made
	rm -rf .venv .build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): $(INPUTS)
	@[[ -n "$(PYTHON)" ]] || { echo "error: no Python 3.11, 3.12 or 3.13 on the path; name one: make PYTHON=…" >&2; exit 1; }
	@[[ -x $(BIN)/python ]] || "$(PYTHON)" -m venv .venv || \
		{ echo "error: $(PYTHON) cannot make a virtual environment (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Setting up .venv (once) …"
	@$(PIP) install --quiet "pip==$(PIP_VERSION)"
	@$(PIP) install --quiet --constraint constraints.txt --build-constraint constraints.txt \
		--group dev --group bars --editable runtime --editable "converter[$(EXTRAS)]"
	@touch $@

$(BENCH_READY): $(READY)
	@$(PIP) install --quiet --constraint constraints.txt --group bench
	@touch $@
