# make lab    open the course              make test   lint, tests, notebooks, browser
# make site   run all, write web pages     make bench  print the measured budgets
# make lock   renew the pins in requirements.txt
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
TORCH := $(if $(shell command -v nvidia-smi),auto,cpu)
COMPILE := $(BIN)/uv pip compile -q -U --universal --python-version 3.11 --no-header --no-annotate \
  --group pyproject.toml:dev pyproject.toml

.PHONY: install lab test site bench lock
install: $(VENV)/.installed

# uv knows where torch's small CPU build is. Where that index cannot be reached, pip resolves
# plainly, with whatever mirror this machine has set up for it.
$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q $$(grep '^uv==' requirements.txt)
	$(BIN)/uv pip install --python $(BIN)/python --torch-backend=$(TORCH) -r requirements.txt -e . \
	  || { echo "torch's own index cannot be reached: trying pip, which takes a few minutes."; \
	       $(BIN)/python -m pip install -q -r requirements.txt -e .; }
	touch $@

lab: install
	$(BIN)/python -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
	  --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

site: install
	$(BIN)/python -m website

bench: install
	$(BIN)/python -m benchmarks

# The CUDA packages stay out of the pins: torch brings them by itself where they are wanted.
lock: install
	$(COMPILE) -o requirements.txt
	$(COMPILE) -o requirements.txt $$(grep -oE '^(nvidia|cuda)-[a-z0-9-]+|^triton' requirements.txt | sed 's/^/--no-emit-package /')
