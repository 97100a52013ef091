# make ablate   train the target and every ablation, and write the report
# make test     run every test; without MNIST or a browser, some are skipped with the reason
# make help     list all targets

PYTHON ?= python3
VENV ?= .venv
# Windows keeps an environment's programs in another folder.
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
ARGS ?=
COMPARE ?=
PIP = $(BIN)/python -m pip --disable-pip-version-check
# uv installs in one minute what takes pip five. Where uv is unavailable or fails, pip does it.
install = $(PIP) install --quiet uv && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint requirements.lock --editable $(1) \
	|| $(PIP) install --quiet --constraint requirements.lock --editable $(1)

.DEFAULT_GOAL := help
# The tests that inject faults and count them.
FAULT_TESTS = $(filter-out %/test_reliability_doc.py,$(shell grep -rl 'from tests.faults import' --include='test_*.py' tests))
ADVISORIES := https://pypi.org/pypi/numpy/2.0.0/json
FAULTS_FILE := .pytest_cache/faults.jsonl

.PHONY: help ablate test check format chaos audit bench performance readme screenshots lock clean

help:
	@echo 'make ablate                          train the target and all ablations (hours on a CPU)'
	@echo 'make ablate ARGS="--preset quick"    the same with less data and fewer epochs (minutes)'
	@echo 'make test                            run every test'
	@echo 'make check                           check style, types and dependencies'
	@echo 'make format                          format the code'
	@echo 'make chaos                           inject faults into studies, write docs/reliability.md (20 minutes)'
	@echo 'make audit                           list known vulnerabilities in dependencies'
	@echo 'make bench                           measure training speed against baselines, then single parts'
	@echo 'make bench COMPARE="--rounds 1"      the same with options; COMPARE="--help" lists them'
	@echo 'make performance                     render docs/performance.md from docs/performance'
	@echo 'make readme                          render the results in README.md and docs/lesson.md'
	@echo 'make screenshots                     render the pictures in README.md'
	@echo 'make lock                            update requirements.lock to the newest versions'
	@echo 'make clean                           delete the environment and all caches'

$(VENV)/.has-run: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(call install,.)
	@touch $@

$(VENV)/.has-test: $(VENV)/.has-run
	$(call install,'.[test]')
	@touch $@

ablate: $(VENV)/.has-run
	$(BIN)/python cli.py ablate --all $(ARGS)

test: $(VENV)/.has-test
	$(BIN)/python -m pytest -n auto --benchmark-disable $(ARGS)

check: $(VENV)/.has-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@# Text files name their encoding, since Windows has another one by default.
	$(BIN)/ruff check --preview --select PLW1514 .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory audit

# Queries the advisory database. If it does not answer (a package mirror has none), this is no failure.
audit: $(VENV)/.has-test
	@if $(BIN)/python -c 'import json, urllib.request as r; json.load(r.urlopen("$(ADVISORIES)", timeout=5))["vulnerabilities"]' 2>/dev/null; \
	then $(PIP) install --quiet --editable '.[audit]' && \
	  $(BIN)/pip-audit --disable-pip --no-deps --requirement requirements.lock; \
	else echo 'Dependencies not audited: $(ADVISORIES) does not answer.'; fi

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

performance: $(VENV)/.has-test
	$(BIN)/python -m benchmarks.performance

readme: $(VENV)/.has-run
	$(BIN)/python cli.py readme docs/reference docs/fashion-mnist

screenshots: $(VENV)/.has-test
	$(BIN)/python docs/screenshots.py

lock: $(VENV)/.has-test
	$(PIP) install --quiet uv
	echo "# Every version that the tests ran with. Made by 'make lock'; used as constraints, see the Makefile." > requirements.lock.new
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra test --no-emit-index-url --no-header --quiet pyproject.toml >> requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks *.egg-info
