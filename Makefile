# Each target does all the set-up it needs; nothing is done twice.
# ARGS is handed on:  make demo ARGS="--screenshot demo.png --exit"
#                     make test ARGS="tests/engine -x"
# PYTHON picks the interpreter (3.11 to 3.13), VENV the environment's folder.

VENV ?= .venv
PYTHON ?=
ARGS ?=
export PYTHON

BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two processes, one of them for all that opens windows; more threads than cores would
# make both slow.
ONE_THREAD := OMP_NUM_THREADS=1
TOGETHER := -n 2 --dist loadgroup
DISPLAYED := scripts/with_display.sh

.DEFAULT_GOAL := help
.PHONY: help setup system demo test test-all lint format wheel clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make the virtual environment and install into it

$(READY): pyproject.toml constraints.txt scripts/environment.sh
	scripts/environment.sh "$(VENV)" --editable '.[all,dev]'
	@touch "$@"

system:
	@scripts/system_packages.sh

demo: system $(READY) ## open napari with a sample image, segmented
	$(DISPLAYED) 1280x800x24 "$(BIN)/napari-unet" demo $(ARGS)

test: system $(READY) ## run the tests with reduced counts and fixed seeds
	$(ONE_THREAD) $(DISPLAYED) 1280x1024x24 \
		"$(BIN)/python" -m pytest -m "not slow" $(TOGETHER) $(ARGS)

test-all: system $(READY) ## run every test with full counts
	NAPARI_UNET_FULL=1 $(ONE_THREAD) $(DISPLAYED) 1280x1024x24 \
		"$(BIN)/python" -m pytest $(TOGETHER) $(ARGS)

lint: $(READY) ## check style, types and import contracts
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy"
	"$(BIN)/lint-imports"

format: $(READY) ## rewrite the code in the project's style
	"$(BIN)/ruff" check --fix
	"$(BIN)/ruff" format

wheel: $(READY) ## build dist/*.whl and dist/*.tar.gz
	rm -rf dist
	"$(BIN)/python" -m build

clean: ## remove everything that make built, the environment too
	rm -rf "$(VENV)" build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
