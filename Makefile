# make lab      open the course             make test        lint, tests, notebooks, browser
# make book     run what changed, write it  make slides      the same as slides
# make present  open it as live slides      make assignment  write the exercises for nbgrader
# make verdicts what turns with the seeds   make bench       print the measured budgets
# make links    launch links of this clone  make answers     of a class, before and after
# make page     one student's notebook      make oldest      fast tests on the lower bounds
# make lock     renew the pins              make picture     the README's explorer
VENV := .venv
BIN := $(VENV)/bin
TEACH := .venv-teaching
OLD := .venv-oldest
PYTHON ?= python3
TORCH := $(if $(shell command -v nvidia-smi),auto,cpu)
COMPILE := $(BIN)/uv pip compile -q -U --universal --python-version 3.11 --no-header --no-annotate
COURSE := $(COMPILE) --extra lab pyproject.toml -o requirements.txt
OLDEST := $(BIN)/uv pip install -q --python $(OLD)/bin/python --resolution lowest-direct -e .[lab]
OPEN := -m jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) \
  --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

.PHONY: install makers teaching lab present test oldest book site page picture slides links verdicts assignment answers bench lock
install: $(VENV)/.installed
makers: $(VENV)/.makers
teaching: $(TEACH)/.installed

$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r binder/requirements.txt
	PATH="$(abspath $(BIN)):$$PATH" TORCH=$(TORCH) binder/postBuild
	touch $@

# Tools for makers: linter, tests, browser driver, book. A student installs none of them.
$(VENV)/.makers: tools/requirements.txt $(VENV)/.installed
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -r $< || $(BIN)/python -m pip install -q -r $<
	touch $@

# Tools for teachers, apart from the course; their notebooks run on the course's kernel.
$(TEACH)/.installed: tools/assignment/requirements.txt $(VENV)/.installed
	$(PYTHON) -m venv $(TEACH)
	$(BIN)/uv pip install -q --compile-bytecode --python $(TEACH)/bin/python -r $< || $(TEACH)/bin/python -m pip install -q -r $<
	$(BIN)/python -m ipykernel install --prefix $(TEACH) 2>/dev/null
	mkdir -p $(TEACH)/share/jupyter/lab/settings
	cp binder/overrides.json $(TEACH)/share/jupyter/lab/settings/
	touch $@

lab: install
	$(BIN)/python $(OPEN)

present: teaching
	$(TEACH)/bin/python $(OPEN)

test: makers teaching
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema -q --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/python -m pytest

# The lower bounds of pyproject.toml, exactly. Warnings of packages that are newer are no errors.
$(OLD)/.installed: pyproject.toml $(VENV)/.installed
	$(PYTHON) -m venv $(OLD)
	$(OLDEST) --torch-backend=$(TORCH) || $(OLDEST)
	$(BIN)/uv pip install -q --python $(OLD)/bin/python --group pyproject.toml:dev
	touch $@

oldest: $(OLD)/.installed
	$(OLD)/bin/python -m pytest -m "not notebooks and not browser and not book" -W default \
	  --deselect tests/test_environment.py::test_this_environment_is_ready

# LANGUAGE=ko takes translations from locale/; HUB=https://hub.example.org adds its launch button.
book site: makers
	BOOK_LANGUAGE=$(or $(LANGUAGE),en) BOOK_HUB=$(HUB) $(BIN)/python -m tools.book

links: install
	$(BIN)/python -m tools.launch links

page: makers
	$(BIN)/python -m tools.page $(NOTEBOOK)

picture: makers
	$(BIN)/python -m tools.picture

slides: makers
	$(BIN)/python -m tools.slides $(ONLY)

verdicts: install
	$(BIN)/python -m tools.verdicts $(SETS)

assignment: install
	$(BIN)/python -m tools.assignment

answers: install
	@$(BIN)/python -m tools.answers $(FOLDER)

bench: makers teaching
	$(BIN)/python -m tools.bench

# The CUDA packages stay out of the pins: torch brings them by itself where they are wanted.
lock: makers
	$(COURSE)
	$(COURSE) $$(grep -oE '^(nvidia|cuda)-[a-z0-9-]+|^triton' requirements.txt | sed 's/^/--no-emit-package /')
	$(COMPILE) --group pyproject.toml:dev -c requirements.txt -o tools/requirements.txt
	$(COMPILE) --group pyproject.toml:teaching -o tools/assignment/requirements.txt
