# The first target made on a machine sets everything up; later ones start at once.
# Options: PYTHON=/path/to/python3.11, VENV=folder

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.napari-sprout-ready
CODE := src tests scripts benchmarks

.PHONY: help demo test lint wheel setup clean

help:
	@echo "make demo    segment the sample images into demo_output/"
	@echo "make test    run the tests"
	@echo "make lint    check style, types and the direction of imports"
	@echo "make wheel   build the package into dist/"
	@echo "make clean   remove what was made, the virtual environment apart"

setup: $(READY)

$(READY): pyproject.toml scripts/set_up.sh
	PYTHON="$(PYTHON)" scripts/set_up.sh "$(VENV)"
	@touch $@

demo: $(READY)
	$(BIN)/napari-sprout demo -o demo_output

# napari's canvas needs a screen with OpenGL: a virtual one, where it is to be had.
# Two processes of one thread each: one for the windows, one for the rest.
test: export OMP_NUM_THREADS = 1
test: $(READY)
	@if command -v xvfb-run >/dev/null 2>&1; then \
	    xvfb-run -a -s "-screen 0 1280x1024x24" $(BIN)/python -m pytest -q -n 2; \
	else \
	    QT_QPA_PLATFORM=offscreen $(BIN)/python -m pytest -q -n 2; \
	fi

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(READY)
	$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps -w dist .
	@ls -l dist

clean:
	rm -rf demo_output dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests scripts benchmarks -name __pycache__ -prune -exec rm -rf {} +
