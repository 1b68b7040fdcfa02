# Two commands matter: `make run` and `make test`. Both start from a bare machine with git, make, Python 3.11+ and Node 20.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
UV := .build/tools/bin/uv

.PHONY: help setup
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: .build/python.stamp .build/node.stamp ## virtual environment and Azurite, pinned

.build/tools/bin/uv:
	@mkdir -p .build
	python3 -m venv .build/tools
	.build/tools/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8

.build/python.stamp: requirements.txt requirements-dev.txt node/requirements.txt constraints.txt | $(UV)
	@.build/tools/bin/python localdev/setup/find_python.py > .build/python.txt
	$(UV) venv --quiet --allow-existing --python "$$(cat .build/python.txt)" .venv
	$(UV) pip install --quiet --python $(PY) -r requirements-dev.txt -c constraints.txt
	@touch $@

.build/node.stamp: localdev/azurite/package.json localdev/azurite/package-lock.json
	@mkdir -p .build
	cd localdev/azurite && npm ci --silent --no-audit --no-fund
	@touch $@
