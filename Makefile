# The commands of the project. `make lab` and `make test` set everything up first; `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
ROOT_FLAG := $(if $(filter 0,$(shell id -u)),--allow-root)
BROWSER_FLAG := $(if $(NO_BROWSER),--no-browser)
NOTEBOOK ?= notebooks/00_quickstart.ipynb
ARGS ?=

.PHONY: help setup test-setup lab test long conformance gpu lint audit format bench soak notebooks screenshots lock clean

help:     ## list the commands
	@sed -n 's/^\([a-z]*\): .*##/  make \1\t/p' Makefile

setup:    ## bring .venv up to date: locked packages, Horovod, native library
	@$(PYTHON) scripts/setup.py

test-setup:
	@$(PYTHON) scripts/setup.py --tests

lab: setup  ## open JupyterLab on the quickstart (headless: make lab ARGS=--no-browser, or NO_BROWSER=1)
	@exec $(BIN)/python scripts/lab.py --LabApp.default_url="/lab/tree/$(NOTEBOOK)" $(ROOT_FLAG) $(BROWSER_FLAG) $(ARGS)

test: test-setup  ## every check and test: lint, types, import order, tests, doctests, notebooks
	@$(BIN)/python scripts/check.py $(ARGS)

long: test-setup  ## the tests that show in another way, or for longer, what a shorter one shows in `make test`; up to an hour
	@$(BIN)/python scripts/check.py --only long

conformance: test-setup  ## all situations of docs/fit.md, on real workers against plain Keras; takes many minutes
	@$(BIN)/python scripts/check.py --only conformance

gpu: test-setup  ## tests that need a GPU of NVIDIA's and a TensorFlow that sees it; elsewhere they are skipped
	@$(BIN)/python scripts/check.py --only gpu

lint: setup  ## the checks alone, in a minute or a few
	@$(BIN)/python scripts/check.py --only lint

audit: test-setup  ## withdrawn versions, known weaknesses and licences of all that is installed; asks the network
	@$(BIN)/python scripts/dependencies.py --online

format: setup  ## rewrite the code in the project's format, and the list of files in docs
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .
	@$(BIN)/python scripts/file_tree.py --write

bench: setup  ## the benchmarks, side by side; takes minutes and wants a quiet machine
	@for file in benchmarks/*.py; do echo "── $$file"; $(BIN)/python "$$file" $(ARGS) || exit 1; done

soak: test-setup  ## storms of faults for an hour (shorter: ARGS="--minutes 10"; into docs: --write)
	@$(BIN)/python scripts/soak.py $(ARGS)

notebooks: setup  ## execute the notebooks again and keep their outputs (some: ARGS=notebooks/03_elastic.ipynb)
	@$(BIN)/python scripts/notebooks.py $(ARGS)

screenshots: test-setup  ## take the pictures of the docs again, in a real JupyterLab
	@$(BIN)/python scripts/screenshots.py $(ARGS)

lock: setup  ## renew both locks and environment.yml (newer versions: ARGS=--upgrade)
	@$(BIN)/python scripts/lock.py $(ARGS)

clean:    ## remove the environment and caches of this checkout (the cached Horovod wheel stays)
	rm -rf .venv .setup.lock build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info test-results
	find lepton_kit tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
