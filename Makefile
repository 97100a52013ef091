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
.PHONY: help ablate test check format bench performance readme screenshots lock clean

help:
	@echo 'make ablate                          train the target and all ablations (hours on a CPU)'
	@echo 'make ablate ARGS="--preset quick"    the same on a small share of the data (minutes)'
	@echo 'make test                            every test'
	@echo 'make check                           style and types'
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

format: $(VENV)/.has-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

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
