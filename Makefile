# make ablate   train the target and every ablation, write the report
# make test     every test; on a machine without MNIST or a browser some are skipped, and say so
# make help     the rest

PYTHON ?= python3
VENV ?= .venv
# Windows keeps an environment's programs in another folder.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
ARGS ?=
COMPARE ?=

.DEFAULT_GOAL := help
# Tests that do harm on purpose, and count it.
FAULT_TESTS := tests/ablations/runner/test_chaos.py tests/ablations/runner/test_scheduler.py tests/ablations/runner/test_ray.py tests/ablations/records/test_disk.py tests/ablations/records/test_damage.py tests/ablations/records/test_study.py tests/ablations/data/test_datasets.py tests/ablations/data/test_download.py
ADVISORIES := https://pypi.org/pypi/numpy/2.0.0/json
FAULTS_FILE := .pytest_cache/faults.jsonl

.PHONY: help ablate test check format chaos audit bench performance readme screenshots lock clean

help:
	@echo 'make ablate                          train the target and all ablations (hours on a CPU)'
	@echo 'make ablate ARGS="--preset quick"    the same on a small share of the data (minutes)'
	@echo 'make test                            every test'
	@echo 'make check                           style and types'
	@echo 'make chaos                           a hundred kills and more; docs/reliability.md'
	@echo 'make audit                           known holes in dependencies, where the network is there'
	@echo 'make bench                           beside plain PyTorch and Lightning, then the parts'
	@echo 'make bench COMPARE="--rounds 1"      what the comparison may be given: COMPARE="--help"'
	@echo 'make performance                     docs/performance.md, from what was measured'
	@echo 'make readme                          the results in README.md and the lesson, from docs'
	@echo 'make screenshots                     the pictures in README.md, from docs'
	@echo 'make lock                            newest versions into requirements.lock'

$(VENV)/.has-run: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	@touch $@

$(VENV)/.has-test: $(VENV)/.has-run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[test]'
	@touch $@

ablate: $(VENV)/.has-run
	$(BIN)/python cli.py ablate --all $(ARGS)

test: $(VENV)/.has-test
	$(BIN)/python -m pytest -n auto $(ARGS)
	$(BIN)/python -m pytest benchmarks --benchmark-disable -q

check: $(VENV)/.has-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory audit

# Asks who knows of holes in dependencies. Where nobody answers (a mirror of packages knows of none),
# that is said and is no failure.
audit: $(VENV)/.has-test
	@if $(BIN)/python -c 'import json, urllib.request as r; json.load(r.urlopen("$(ADVISORIES)", timeout=5))["vulnerabilities"]' 2>/dev/null; \
	then $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[audit]' && \
	  $(BIN)/pip-audit --disable-pip --no-deps --requirement requirements.lock; \
	else echo 'Dependencies are not audited: $(ADVISORIES) does not answer.'; fi

format: $(VENV)/.has-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: $(VENV)/.has-test
	mkdir -p .pytest_cache && rm -f $(FAULTS_FILE)
	CHAOS_ROUNDS=$${CHAOS_ROUNDS:-10} FAULTS_FILE=$(CURDIR)/$(FAULTS_FILE) $(BIN)/python -m pytest -n auto $(FAULT_TESTS) $(ARGS)
	$(BIN)/python -m tests.faults $(FAULTS_FILE)

bench: $(VENV)/.has-test
	$(BIN)/python -m benchmarks.compare $(COMPARE)
	$(BIN)/python -m pytest benchmarks --benchmark-sort=name --benchmark-columns=median,iqr,ops,rounds $(ARGS)

performance: $(VENV)/.has-run
	$(BIN)/python -m benchmarks.performance

readme: $(VENV)/.has-run
	$(BIN)/python cli.py readme docs/reference docs/fashion-mnist

screenshots: $(VENV)/.has-test
	$(BIN)/python docs/screenshots.py

lock: $(VENV)/.has-test
	$(BIN)/python -m pip install --quiet uv
	echo "# Every version that the tests ran with. Made by 'make lock'; used as constraints, see the Makefile." > requirements.lock.new
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra test --no-emit-index-url --no-header --quiet pyproject.toml >> requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info
