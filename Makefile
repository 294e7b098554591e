# `make sweep` and `make test` work on a fresh machine: they make .venv, install what they need and run.
PYTHON ?= python3
BIN := .venv/bin

# From where torch is installed first: PyTorch's index of CPU builds on a Linux machine without an NVIDIA GPU, where the build on
# PyPI would bring gigabytes for CUDA. `make test TORCH_INDEX=` takes PyPI's build; any other index may be named, too.
ifeq ($(shell uname -s)$(shell command -v nvidia-smi 2>/dev/null),Linux)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
endif

.PHONY: sweep claims test test-all test-examples lint docs clean

sweep: .venv/sweep
	$(BIN)/python -m lpm.sweep --K 4

claims: .venv/claims
	$(BIN)/python -m paper_checks --rigorous

test: .venv/test
	$(BIN)/python -m pytest

test-all: .venv/test
	$(BIN)/python -m pytest -m ""

# The examples with the libraries that they are for, and the notebook of commands.
test-examples: .venv/examples
	$(BIN)/python -m pytest -m "" tests/test_examples.py
	$(BIN)/python -m pytest -m heavy tests/test_notebooks.py

lint: .venv/lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation as a site, in site/; fails if a link or an anchor leads nowhere.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/sweep: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/claims: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[rigorous]"
	touch $@ .venv/sweep

# The next line that needs torch keeps what is there. Without an answer from the index, it installs PyPI's build.
.venv/torch: .venv/bin/python constraints.txt
ifneq ($(TORCH_INDEX),)
	$(BIN)/python -m pip install -q --no-deps --retries 1 --index-url $(TORCH_INDEX) -c constraints.txt torch \
		|| echo "torch is not to be had from $(TORCH_INDEX); it comes from PyPI"
endif
	touch $@

.venv/test: .venv/torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,rigorous,train,large,figures,cluster,onnx]"
	touch $@ .venv/sweep .venv/claims

# torchvision must be of torch's build: from the index of the CPU builds, if torch is.
.venv/examples: .venv/test
ifneq ($(TORCH_INDEX),)
	$(BIN)/python -m pip install -q --no-deps --retries 1 --index-url $(TORCH_INDEX) -c constraints.txt torchvision \
		|| echo "torchvision is not to be had from $(TORCH_INDEX); it comes from PyPI"
endif
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[examples]"
	touch $@

.venv/lint: .venv/torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,rigorous,train,large,figures,cluster,onnx,dev]"
	touch $@ .venv/test .venv/sweep .venv/claims

.venv/docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf .venv build site *.egg-info
