# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

DATA ?= ../shared/data
TRAIN := $(BIN)/sleepstream train
SHIPPED := models/sleepstream_models
WITH = --data $(DATA) --work .work/train
TIMES ?= 100
HAVE_DATA = test -d $(DATA) || { echo "skipped: no data in $(DATA) (make models DATA=FOLDER)"; exit 0; }

.PHONY: help demo test lint check faults soak fuzz bench models evaluate loc clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.run  ## watch a made-up night being staged over LSL (no data, no network)
	$(BIN)/sleepstream demo

test: $(VENV)/.dev lint  ## everything that has to hold: style, types, imports, tests
	$(BIN)/pytest -n 2 --dist loadgroup

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --config pyproject.toml

faults: $(VENV)/.dev  ## every fault on the wire and around the daemon, held against what was injected; an hour
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m reliability $(if $(ONLY),--only "$(ONLY)",--write docs/reliability.md)

soak: $(VENV)/.dev  ## half a day of faults at speed, an hour of peace, a week of epochs: does anything grow; 90 min
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m soak --write docs/reliability.md

fuzz: $(VENV)/.dev  ## foreign bytes into every parser, TIMES=100 times as many as in `make test`; an hour
	SLEEPSTREAM_FUZZ=$(TIMES) $(BIN)/pytest tests/property/test_fuzz_*.py -o timeout=7200

bench: $(VENV)/.dev  ## how fast, as ratios measured in one run
	$(BIN)/python tests/bench/bench.py

models: $(VENV)/.dev  ## make the shipped models anew from DATA; hours, and it goes on where it stopped
	@$(HAVE_DATA); $(TRAIN) encoder --recipe shipped-tinysleepnet --out $(SHIPPED)/tinysleepnet $(WITH)
	@$(HAVE_DATA); $(TRAIN) encoder --recipe shipped-deepsleepnet --out $(SHIPPED)/deepsleepnet $(WITH)
	@$(HAVE_DATA); $(TRAIN) decoder --recipe language --out $(SHIPPED)/gpt-language $(WITH)
	@$(HAVE_DATA); $(TRAIN) decoder --recipe shipped --out $(SHIPPED)/gpt $(WITH)
	@$(HAVE_DATA); $(TRAIN) decoder --recipe shipped --set model.causal=false --out .work/train/gpt-both-ways $(WITH)
	@$(HAVE_DATA); $(TRAIN) disorder --recipe apnoea --out $(SHIPPED)/apnoea $(WITH)
	@$(HAVE_DATA); $(TRAIN) disorder --recipe cap --out $(SHIPPED)/cap $(WITH)
	@$(HAVE_DATA); OMP_NUM_THREADS=1 $(BIN)/python -m sleepstream_training.familiarity --data $(DATA) --out $(SHIPPED)/sleep-eeg

evaluate: $(VENV)/.dev  ## every figure in docs/models.md and the decoder's card anew from DATA
	@$(HAVE_DATA); OMP_NUM_THREADS=1 $(BIN)/sleepstream evaluate all --data $(DATA) --figures docs/figures \
		--both-ways .work/train/gpt-both-ways \
		--write docs/models.md --write $(SHIPPED)/gpt/CARD.md

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.run
