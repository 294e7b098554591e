# `make sweep` and `make test` work on a fresh machine: they make .venv, install what they need and run.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: sweep claims test lint docs clean

sweep: .venv/sweep
	$(BIN)/python -m lpm.sweep --K 4

claims: .venv/claims
	$(BIN)/python -m paper_checks --rigorous

test: .venv/test
	$(BIN)/python -m pytest

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

.venv/test: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,rigorous,train,large,figures,cluster]"
	touch $@ .venv/sweep .venv/claims

.venv/lint: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test,rigorous,train,large,figures,cluster,dev]"
	touch $@ .venv/test .venv/sweep .venv/claims

.venv/docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	touch $@

clean:
	rm -rf .venv build site *.egg-info
