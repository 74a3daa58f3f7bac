# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs. Without make, see the README.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of torch: a plain `torch` would take gigabytes of CUDA packages.
TORCH := torch==2.13.0

.PHONY: demo test quick lint docs mutants clean

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[report,demo]'
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[report,demo,test]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[report,demo,test,browser,docs,dev]'
	touch $@

demo: $(VENV)/.demo
	$(BIN)/python -m epsball demo

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

quick: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --quick

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.dev
	$(BIN)/zensical build --clean --strict

mutants: $(VENV)/.dev
	OMP_NUM_THREADS=1 nice -n 5 $(BIN)/python -m benchmarks.mutants --count 400 --seed 0 --out mutants.jsonl

clean:
	rm -rf $(VENV) site dist
