# Candor's commands. `make` alone lists them. Each one that needs the environment makes it first (scripts/env: a second where it is there).
#
# A new machine needs Linux on x86-64, Python 3.11, make, git, bash and 10 GB of disk; no compiler, no ffmpeg, no GPU.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON_RUN := .venv/bin/python
TOOLS := .venv/tools
TYPED := candor models calibration review store serving client candor_client benchmarks scripts tests
CONFIG ?= configs/default.yaml
# More words for the command: `make unit ARGS='-k batching'`
ARGS ?=

.PHONY: help env demo serve bench test unit integration test-tools check format-check lint types imports docs-check dockerfile format docs lock clean

help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

env: ## Create or refresh the environment in .venv
	@scripts/env

demo: env ## Draft real images and speech through a real server; INPUT=folder drafts your own
	@$(PYTHON_RUN) -m scripts.demo $(if $(INPUT),"$(INPUT)") $(ARGS)

serve: env ## Start the server; CONFIG=file is configs/default.yaml
	@exec .venv/bin/candor serve --config "$(CONFIG)" $(ARGS)

bench: env ## Measure served against raw throughput, and the latency that serving adds
	@$(PYTHON_RUN) -m benchmarks $(ARGS)

test: env ## Run the whole test suite: unit, then integration
	$(PYTHON_RUN) -m pytest tests/unit -n auto $(ARGS)
	$(PYTHON_RUN) -m pytest tests/integration --durations=25 --durations-min=5 $(ARGS)

unit: env ## Run the unit tests: no Ray, no models, seconds
	$(PYTHON_RUN) -m pytest tests/unit -n auto $(ARGS)

integration: env ## Run the integration tests: real Ray Serve, real models
	$(PYTHON_RUN) -m pytest tests/integration --durations=25 --durations-min=5 $(ARGS)

test-tools: env ## Run the tests with real labeling tools: Label Studio in a browser, other tools' clients (installs 2 GB once)
	@scripts/label-studio ensure
	$(PYTHON_RUN) -m pytest tests/tools $(ARGS)

check: lint format-check types imports docs-check dockerfile ## Run every static check

lint: env
	$(TOOLS)/ruff check .

format-check: env
	$(TOOLS)/ruff format --check .

types: env
	$(PYTHON_RUN) -m mypy $(addprefix --package ,$(TYPED))

imports: env
	$(TOOLS)/lint-imports

docs-check: env
	$(PYTHON_RUN) -m scripts.generate_docs --check

dockerfile: env # hadolint comes as a Linux program in a package; where that can't run, the check is left out aloud
	@if $(TOOLS)/hadolint --version >/dev/null 2>&1; then echo "hadolint Dockerfile"; $(TOOLS)/hadolint Dockerfile; \
	else echo "dockerfile: NOT CHECKED: hadolint does not run on this machine"; fi

format: env ## Sort imports and format the code
	$(TOOLS)/ruff check --select I --fix .
	$(TOOLS)/ruff format .

docs: env ## Regenerate docs/reference from the code
	$(PYTHON_RUN) -m scripts.generate_docs

lock: ## Resolve requirements.in into requirements.lock, at today's versions
	@scripts/lock

clean: ## Remove the environment's link and all caches; drafts and models in var/ stay
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
