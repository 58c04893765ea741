.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench docs figures

# An environment that is already there (CI makes its own) can be named: make test VENV=/path
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.hpedit-installed
# The demo's run that `make bench` measures.
RUN ?= runs/demo
# Threads that spin while they wait are ruinous on a busy machine.
export GOMP_SPINCOUNT ?= 0
export HF_HUB_OFFLINE ?= 1
# uv does not read the settings of pip; a wheel at hand should serve both.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

# A file's tests stay in one process, which keeps what they share; one thread each leaves the cores to the processes.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

help:  ## show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(STAMP)  ## create .venv and install hpedit with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if command -v uv >/dev/null; then \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'; \
	fi
	touch $@

demo: setup  ## run the whole loop in the mini world; prints the path of a report
	$(BIN)/hpedit demo

test: setup  ## run all tests
	$(PYTEST)

check: setup  ## lint, format, types, floors of imports and the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(PYTEST) -q -m "not slow"

bench: setup  ## base against the demo's post-trained mini editor, on its held-out cases
	@if test -f $(RUN)/bench/cases.parquet && test -d $(RUN)/train/lora; then \
	  $(BIN)/hpedit bench run --editor mini --cases $(RUN)/bench/cases.parquet \
	    --scorer $(RUN)/scorer --out $(RUN)-bench/base && \
	  $(BIN)/hpedit bench run --editor mini --lora $(RUN)/train/lora --cases $(RUN)/bench/cases.parquet \
	    --scorer $(RUN)/scorer --out $(RUN)-bench/post && \
	  $(BIN)/hpedit bench compare $(RUN)-bench/base $(RUN)-bench/post --out $(RUN)-bench/compare; \
	else \
	  echo "error: $(RUN) holds no finished demo to measure" >&2; \
	  echo "hint: run \`make demo\` first, or name another run: make bench RUN=folder" >&2; \
	  exit 2; \
	fi

docs: setup  ## build the documentation site into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

figures: setup  ## write the figures in README and docs from benchmarks/baselines
	$(BIN)/python benchmarks/figures.py
