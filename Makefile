# The two commands of a fresh machine are `make demo` and `make test`; they need only Python 3.11 or newer, and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KILLS ?= 300
ROWS ?= 100000
TIMES ?= 10
ROUNDS ?= 5
EXAMPLES ?= 2000
IN_ANY_DATABASE := $(patsubst %,tests/test_%.py,run resume conformance crashes loanpro kompliant_upload mixed orphans verify fleet)

.PHONY: help demo test lint types imports unit test-slow test-s3 test-postgresql kills losses soak bench bench-pace bench-cores bench-scale fuzz clean

help:
	@echo 'make demo       install, then send a sample archive to the built-in sandbox'
	@echo 'make test       install with the development tools, then lint, types, import rules and all tests'
	@echo 'make test-slow  the slow checks: many kills, many rows'
	@echo 'make test-s3    the same transfers against a real S3 server, SeaweedFS'
	@echo 'make test-postgresql  runs, resumes and crashes again, with the ledger in a real PostgreSQL'
	@echo 'make kills      kill the command 300 times over all vendors, and count on their side'
	@echo 'make losses     kill workers and schedulers of shared runs, and count at the vendors: TIMES=10'
	@echo 'make soak       send 100000 rows with faults on each step, and look for what is lost or grows: ROWS=100000'
	@echo 'make bench      measure speed against curl, s5cmd, rclone and scripts, in turn: ROUNDS=5'
	@echo 'make bench-pace measure how much of an unknown rate limit is used, and adaptive concurrency: ROUNDS=3'
	@echo 'make bench-cores measure one process against two, and a ledger in PostgreSQL against SQLite: ROUNDS=5'
	@echo 'make bench-scale measure what a ledger in PostgreSQL costs, and simulate 1 to 200 workers with that'
	@echo 'make fuzz       look for what breaks on 2,000 random examples of each property'
	@echo 'make clean      remove what these made'

demo: $(VENV)/installed
	$(BIN)/bulkup demo

test: lint types imports unit

lint: $(VENV)/developing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/developing
	$(BIN)/mypy

imports: $(VENV)/developing
	$(BIN)/lint-imports --no-logo

unit: $(VENV)/developing
	$(BIN)/pytest -n 3 -m 'not slow and not s3'

test-slow: $(VENV)/developing
	$(BIN)/pytest -n 2 -m slow

test-postgresql: $(VENV)/developing
	TEST_LEDGER=postgresql $(BIN)/pytest -n 2 -m 'not slow and not s3 and not sqlite' $(IN_ANY_DATABASE)

kills: $(VENV)/developing
	$(BIN)/python -m tests.kills --kills $(KILLS)

losses: $(VENV)/developing
	$(BIN)/python -m tests.losses --times $(TIMES)
	$(BIN)/python -m tests.losses --times $(TIMES) --ledger postgresql
	$(BIN)/python -m tests.losses --times $(TIMES) --ledger postgresql --engine dask
	$(BIN)/python -m tests.losses --times $(TIMES) --ledger postgresql --engine dask --lost scheduler

soak: $(VENV)/developing
	$(BIN)/python -m benchmarks.soak --rows $(ROWS)

bench: $(VENV)/developing
	$(BIN)/pip install --quiet --group bench
	$(BIN)/python -m benchmarks.speed --rounds $(ROUNDS)

bench-pace: $(VENV)/developing
	$(BIN)/python -m benchmarks.pace --rounds $(ROUNDS)

bench-cores: $(VENV)/developing
	$(BIN)/python -m benchmarks.cores --rounds $(ROUNDS)

bench-scale: $(VENV)/developing
	$(BIN)/python -m benchmarks.scale_costs --output $(VENV)/scale-costs.json
	$(BIN)/python -m benchmarks.scale --costs $(VENV)/scale-costs.json

fuzz: $(VENV)/developing
	EXAMPLES=$(EXAMPLES) $(BIN)/pytest -n 2 --timeout 0 tests/test_fuzz_answers.py tests/test_fuzz_runs.py tests/test_sse.py tests/test_manifest_properties.py

test-s3: $(VENV)/developing
	$(BIN)/pip install --quiet --editable '.[s3]'
	$(BIN)/pytest -m s3

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bulkup needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv --upgrade-deps $(VENV)
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(VENV)/developing: $(VENV)/installed
	$(BIN)/pip install --quiet --group dev
	@touch $@

clean:
	rm -rf $(VENV) bulkup-demo build dist .mypy_cache .ruff_cache .hypothesis
