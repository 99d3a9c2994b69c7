# Each target stands alone on a fresh machine: the virtual environment is made on the first call and reused after it.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed
DEMO    = $(VENV)/.demo
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
EXTRAS  = models,labelbox,fiftyone,search,maps,report,text,taxonomy,dev
JOBS   ?= 2

.PHONY: help setup demo test test-all lint types clean

help:
	@echo "make demo      run the main job on real images and write demo/report.html"
	@echo "make test      lint, types and tests (under 10 minutes on 2 cores)"
	@echo "make test-all  the slow tests: kill -9, faults, browser"

# The demo needs neither torch nor a platform's SDK: a small environment, which `make test` fills up later.
$(DEMO): setup.cfg constraints.txt
	@echo "making $(VENV) for the demo (once; a minute or two, nothing is printed meanwhile)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e ".[report]" scikit-image
	@touch $@

$(STAMP): setup.cfg constraints.txt
	@echo "making $(VENV) with all that curate can use, torch and FiftyOne too (once; some minutes, nothing is printed meanwhile)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -e ".[$(EXTRAS)]"
	@touch $(DEMO) $@

setup: $(STAMP)

demo: $(DEMO)
	@$(BIN)/python examples/demo.py --to demo

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

test: lint types
	$(BIN)/python -m pytest -m "not slow and not live" -n $(JOBS) --dist loadfile

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "slow and not live" -n $(JOBS) --dist loadfile

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache *.egg-info
