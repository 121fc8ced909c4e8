# The two commands are `make run` and `make test`; the others are for those who look after the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= data
PORT ?= 8080

.PHONY: run demo env test prove bench words docs clean

run: $(VENV)/run.stamp                 ## start a hub on its embedded defaults
	$(BIN)/hub run --data $(DATA) --port $(PORT)

demo: $(VENV)/test.stamp               ## start three paired hubs, each filled with its street
	$(BIN)/python -m tests.demo --port $(PORT)

env: $(VENV)/run.stamp                 ## build only the environment

test: $(VENV)/test.stamp               ## everything CI runs
	tests/run

prove: $(VENV)/test.stamp              ## the long proofs: power cuts by the thousand
	$(BIN)/python -m pytest tests/prove -m "slow or not slow"

bench: $(VENV)/test.stamp              ## the figures, as ratios to a ceiling of the same run
	$(BIN)/python -m tests.bench

words: $(VENV)/run.stamp               ## collect the words of templates and code into the catalogues
	$(BIN)/python -m hub.words.compile --collect

docs: $(VENV)/test.stamp               ## write the pages of docs/ that are made from the program
	$(BIN)/python -m tests.contracts.documents

$(VENV)/run.stamp: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp tests/constraints.txt tests/install-tools tests/e2e/package-lock.json
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/constraints.txt
	tests/install-tools
	touch $@

clean:
	rm -rf $(VENV) build dist
