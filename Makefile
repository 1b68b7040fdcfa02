# Two commands matter: `make run` and `make test`. Both need git, make, Python 3.11+ and Node 20, and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
UV := .build/tools/bin/uv
STATE := .muster
ROLLOUTS := tests/e2e/test_deploy.py
RETRAININGS := tests/e2e/test_retrain.py

.PHONY: help setup run run-retrain run-deploy serve test test-retrain test-deploy test-thrice test-kills test-chaos test-crash test-crash-night mutants lint types schema bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .build/python.stamp .build/classic.stamp .build/inference.stamp .build/node.stamp ## the virtual environments and Azurite, pinned

run: setup ## the nightly batch scoring, end to end, on this machine; RESUME=1 carries on with one that was cut off
	@$(PY) -m localdev.demo run $(if $(RESUME),--resume)

run-retrain: setup ## the retraining, from a monitor's event to the new champion, on this machine
	@$(PY) -m localdev.demo retrain

run-deploy: setup ## the deployment to AKS under load: a first, a better and a bad version, on this machine
	@$(PY) -m localdev.demo deploy

serve: setup ## the same stack, kept up until Ctrl-C
	@$(PY) -m localdev.demo serve

test: setup ## every test but the two below, a file at a time on each of 3 processes (under 20 minutes on 2 cores); TESTS=folder for some
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(or $(TESTS),--ignore=$(ROLLOUTS) --ignore=$(RETRAININGS))

test-retrain: setup ## retrainings in a world of processes: the bad days, a sweep, a model per unit (7 minutes)
	$(PY) -m pytest $(RETRAININGS)

test-deploy: setup ## sixteen endpoints at once under an outside client: twelve bad models and the bad days (5 minutes, by itself)
	$(PY) -m pytest -s $(ROLLOUTS)

test-thrice: setup ## test and test-retrain three times, each with another hash seed: the same results
	@for seed in 1 22 333; do \
	  echo "== PYTHONHASHSEED=$$seed"; PYTHONHASHSEED=$$seed $(MAKE) --no-print-directory test test-retrain || exit 1; \
	done

test-kills: setup ## 200 real SIGKILLs of app, worker and hub in run after run, then of everything in `make run`
	APP_KILLS=200 $(PY) -m pytest -s tests/e2e/test_kills.py
	PLUG_ROUNDS=4 $(PY) -m pytest -s tests/e2e/test_plug.py

test-chaos: setup ## 500 random nights, several faults at once (12 minutes on 2 cores)
	$(PY) -m tests.crash chaos --runs 500

test-crash: setup ## every single crash of every night, then 500 random nights (about an hour on 2 cores)
	$(PY) -m tests.crash singles
	$(MAKE) --no-print-directory test-chaos

test-crash-night: setup ## 10,000 random nights and every pair of crashes of the plain one (a night on 2 cores)
	$(PY) -m tests.crash chaos --runs 10000
	$(PY) -m tests.crash pairs

mutants: setup ## take one guard at a time out of a copy of the product: each must turn a test red
	$(PY) -m tests.mutants $(NAME)

lint: setup ## style, types, and the house's own rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

schema: setup ## write shared/schema/workload.json anew
	$(PY) -m shared.schema

bench: setup ## every measurement that the README quotes
	@for b in bench/[a-z]*.py; do echo "== $$b"; $(PY) -m "bench.$$(basename $$b .py)" || exit 1; done

clean: ## remove what set-up and runs made here
	rm -rf .venv .build $(STATE) localdev/azurite/node_modules

$(UV):
	@mkdir -p .build
	python3 -m venv .build/tools
	.build/tools/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8

.build/python.stamp: requirements.txt requirements-dev.txt node/requirements.txt node/conversion.txt constraints.txt | $(UV)
	@.build/tools/bin/python localdev/setup/find_python.py > .build/python.txt
	$(UV) venv --quiet --allow-existing --python "$$(cat .build/python.txt)" .venv
	$(UV) pip install --quiet --compile-bytecode --python $(PY) -r requirements-dev.txt -c constraints.txt
	@touch $@

# The app's own pins with the classic durable SDK, for tests/test_classic_sdk.py: made here because tests run without a
# package index. Indexing needs no Azure SDK, so they are left out.
.build/classic.stamp: requirements.txt | .build/python.stamp
	@sed -E 's/^(azure-functions-durable==)[^ ]+/\11.7.0/; /^azure-(mgmt|ai|eventgrid|storage|identity|functions-runtime)/d' \
	  requirements.txt > .build/classic.txt
	$(UV) venv --quiet --allow-existing --python $(PY) .build/classic
	$(UV) pip install --quiet --python .build/classic/bin/python -r .build/classic.txt
	@touch $@

# What online endpoints of the simulated Azure serve with: localdev/serving/requirements.txt says why it is on its own.
.build/inference.stamp: localdev/serving/requirements.txt localdev/serving/constraints.txt node/requirements.txt | .build/python.stamp
	$(UV) venv --quiet --allow-existing --python $(PY) .build/inference
	$(UV) pip install --quiet --compile-bytecode --python .build/inference/bin/python \
	  -r localdev/serving/requirements.txt -c localdev/serving/constraints.txt
	@touch $@

.build/node.stamp: localdev/azurite/package.json localdev/azurite/package-lock.json
	@mkdir -p .build
	cd localdev/azurite && npm ci --silent --no-audit --no-fund
	@touch $@
