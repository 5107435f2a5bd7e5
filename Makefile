# Every target works on a machine with Python 3.11 or newer and nothing else prepared.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help up down destroy demo maintain backup drill restore check verify revision upgrade downgrade release rebase docs test evolution late lint format bench

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.12 up"; exit 1; }
	@echo "Making the virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt -e '.[dev]'
	@touch $@

up: $(INSTALLED) ## Set everything up: server, revisions, reference data, summary
	@$(BIN)/python -m operations up

down: $(INSTALLED) ## Stop the embedded server; the data stays
	@$(BIN)/python -m operations down

destroy: $(INSTALLED) ## Remove the embedded server and its data, after asking
	@$(BIN)/python -m operations destroy

demo: $(INSTALLED) ## Two tenants with devices and a week of telemetry, and what each of them sees
	@$(BIN)/python -m operations demo

maintain: $(INSTALLED) ## Take in late data, delete rows older than their retention, and purge
	@$(BIN)/python -m operations maintain

backup: $(INSTALLED) ## Back the database up into BACKUP_DIRECTORY, and delete old backups
	@$(BIN)/python -m operations backup

drill: $(INSTALLED) ## Restore the newest backup beside the database, compare it, verify it, drop it
	@$(BIN)/python -m operations drill

restore: $(INSTALLED) ## Restore a backup under another name: make restore as=look [backup=NAME]
	@$(BIN)/python -m operations restore $(backup) $(if $(as),--as '$(as)')

check: $(INSTALLED) ## Compare the models with the database
	@$(BIN)/alembic check

verify: $(INSTALLED) ## Verify the database after a deploy: schema, roles, jobs, rollups, reference data
	@$(BIN)/python -m operations verify

revision: $(INSTALLED) ## Generate a revision from the models: make revision m="add pumps"
	@$(BIN)/alembic revision --autogenerate -m "$(m)"

upgrade: $(INSTALLED) ## Apply all revisions
	@$(BIN)/alembic upgrade head

downgrade: $(INSTALLED) ## Revert the last revision
	@$(BIN)/alembic downgrade -1

release: $(INSTALLED) ## Lock every revision that is not released yet by its checksum
	@$(BIN)/python -m operations revision release

rebase: $(INSTALLED) ## Renumber one's own unreleased revisions after those of the other branch
	@$(BIN)/python -m operations revision rebase $(if $(base),--base '$(base)')

docs: $(INSTALLED) ## Write docs/schema from the database
	@$(BIN)/python -m operations docs

test: $(INSTALLED) ## Run the tests, a process for each core: make test [long=1] [PYTEST_ARGS='-k ingest -n 0']
	@TEST_LONG=$(long) $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

evolution: $(INSTALLED) ## Draw sequences of model changes over tables with rows: make evolution [sequences=300]
	@EVOLUTION_SEQUENCES=$(or $(sequences),300) $(BIN)/python -m pytest tests/ddl/test_evolution.py

late: $(INSTALLED) ## Draw sequences of late data, jobs, retention: make late [sequences=200]
	@LATE_DATA_SEQUENCES=$(or $(sequences),200) $(BIN)/python -m pytest tests/operations/maintenance/test_late_data_sequences.py

lint: $(INSTALLED) ## Check style, types, the revisions and, with actionlint, the workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m operations revision lint
	@if command -v actionlint >/dev/null; then actionlint .github/workflows/*.yml; else echo "actionlint is not installed: .github/workflows is checked by CI only"; fi

format: $(INSTALLED) ## Format the code
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

bench: $(INSTALLED) ## Measure ratios on millions of rows: make bench [url=postgresql://…]
	@$(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt -e '.[bench]'
	@$(BIN)/python -m benchmarks $(if $(url),--url '$(url)') $(BENCH_ARGS)
