# `make up` and `make test` do everything on a machine with Python 3.11+, Go and a package mirror.

PYTHON ?= python3
# Integration tests wait for brokers most of the time: so many run side by side.
LANES ?= 4
# What is for several versions of RabbitMQ runs on one of them, in turn; or on all.
VERSIONS ?= in-turn
BIN := .venv/bin
VENV := .venv/.ready

.PHONY: help up down test unit integration golang lint types safety demo-safety bench mutants docs format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: $(VENV)  ## deploy the dev stack, starting a broker if none answers, and prove it by message
	@$(BIN)/python -m toolchain.dev up

down: $(VENV)  ## destroy the dev stack and stop the broker that `make up` started
	@$(BIN)/python -m toolchain.dev down

test: lint types unit integration  ## everything

unit: $(VENV)  ## pure and mocked tests: seconds, no network
	$(BIN)/python -m pytest -m "not integration"

integration: $(VENV)  ## the real engine and real brokers; VERSIONS=all for each test on all; LANES=1 for one at a time
	$(BIN)/python -m pytest tests/safety tests/integration -m "integration and not golang" --versions=$(VERSIONS) -v --instafail -n $(LANES)

golang: $(VENV)  ## whether the example in Go compiles: minutes at first
	$(BIN)/python -m pytest tests/integration -m golang -v -s

safety: $(VENV)  ## every safety test on the full scale, in parts (PART=kills: one); writes docs/safety-results.md
	$(BIN)/python -m tests.safety $(PART:%=--part=%)

demo-safety: $(VENV)  ## the headline: live traffic, classic to quorum, and the ledger at the end
	@$(BIN)/python -m tests.safety.demo

bench: $(VENV)  ## against Terraform, plain Pulumi and the broker alone; writes docs/performance.md
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@$(BIN)/python -m bench $(BENCH)

mutants: $(VENV)  ## whether the unit tests notice a changed line; MUTANTS="--package=lint --each=200"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-mutants.txt
	@$(BIN)/python -m toolchain.mutants $(MUTANTS)

lint: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)
	$(BIN)/mypy

docs: $(VENV)  ## make the README's reference and the JSON Schemas anew
	$(BIN)/python -m toolchain.reference
	$(BIN)/python -m toolchain.schema

format: $(VENV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## stop what `make up` started, remove what the project put outside the clone, and inside
	@$(PYTHON) -m toolchain.dev clean
	@rm -rf .venv .local

$(VENV): $(wildcard requirements*.txt)
	@echo "installing Python packages into .venv"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
