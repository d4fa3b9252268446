PYTHON := .venv/bin/python
INSTALL := $(PYTHON) -m pip install --quiet --require-hashes
COMPILE := .venv-tools/bin/pip-compile --quiet --allow-unsafe --generate-hashes --strip-extras \
	--no-emit-find-links --no-emit-index-url --no-emit-trusted-host $(if $(UPGRADE),--upgrade)
NESTJS := benchmarks/peers/nestjs

.PHONY: help run test lint bench bench-quick faults requirements clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 20

run: .venv/run.stamp .env ## the portal with demo data on http://127.0.0.1:8000
	@$(PYTHON) manage.py run_demo

test: .venv/dev.stamp ## every test, on SQLite and on PostgreSQL with Redis
	@scripts/install-test-services
	@scripts/test

lint: .venv/dev.stamp ## every other check
	@scripts/lint

bench: .venv-bench/stamp ## every measurement, beside what people would use instead; more than an hour
	@scripts/install-test-services
	@.venv-bench/bin/python -m benchmarks

bench-quick: .venv-bench/stamp ## two minutes of it: what a delivery costs, as ratios
	@scripts/install-test-services
	@.venv-bench/bin/python -m benchmarks.streams --quick

faults: .venv/dev.stamp ## minutes of crashes under load, and whether an event was lost; SEED=, STACK=, SECONDS=, MINUTES=
	@scripts/install-test-services
	@$(PYTHON) -m faults $(if $(SEED),--seed=$(SEED)) $(if $(STACK),--stack=$(STACK)) \
		$(if $(SECONDS),--seconds=$(SECONDS)) $(if $(MINUTES),--minutes=$(MINUTES))

requirements: .venv-tools/stamp ## pins all requirements*.in anew; UPGRADE=1 takes the newest versions
	$(COMPILE) --output-file=requirements.txt requirements.in
	$(COMPILE) --output-file=requirements-dev.txt requirements-dev.in
	$(COMPILE) --output-file=benchmarks/requirements.txt benchmarks/requirements.in

clean: ## removes environments and caches, not var/
	rm -rf .venv .venv-bench .venv-tools $(NESTJS)/node_modules .hypothesis \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis test-results
	find . -name __pycache__ -prune -exec rm -rf {} +

.env: | .venv/run.stamp
	@scripts/make-env

.venv/run.stamp: requirements.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "OpsPortal needs Python 3.11 or newer as python3." >&2; exit 1; }
	@echo "Installing the portal's dependencies in .venv"
	@python3 -m venv .venv
	@$(INSTALL) -r requirements.txt
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.txt
	@echo "Installing the tests' and checks' dependencies in .venv"
	@$(INSTALL) -r requirements-dev.txt
	@touch $@

.venv-bench/stamp: requirements.txt requirements-dev.txt benchmarks/requirements.txt \
		$(NESTJS)/package-lock.json
	@echo "Installing what the portal and its peers in the benchmarks need in .venv-bench"
	@python3 -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --require-hashes $(patsubst %,-r %,$(filter %.txt,$^))
	@if command -v npm > /dev/null; then npm ci --prefix $(NESTJS) --no-audit --no-fund --silent; \
		else echo "There is no npm, so NestJS will not be among the peers."; fi
	@touch $@

.venv-tools/stamp:
	@python3 -m venv .venv-tools
	@.venv-tools/bin/python -m pip install --quiet 'pip-tools~=7.5'
	@touch $@
