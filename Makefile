# Two commands do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
SEED ?= 0

.PHONY: setup demo test test-system peers check crash adversary faults handback soak mutate size bench security truth docs i18n golden clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Jayul needs Python 3.11 or newer; say PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,wire,web]'
	@PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[tep]' >/dev/null 2>&1 \
		|| echo "The Tennessee Eastman plant could not be built (is a C compiler there?); the demo runs on tank."
	@touch $@

demo: setup # OPEN=1 shows it in the browser afterwards
	@if $(BIN)/python -c 'import tep_studio' 2>/dev/null; then name=tennessee-eastman run=tennessee-eastman; \
	else echo "No Tennessee Eastman plant here (no C compiler at set-up): the demo runs on tank."; name=tank run=demo-tank; fi; \
	$(BIN)/jayul demo $$name --seed $(SEED) $(if $(OPEN),--open) && echo "See it in the browser: $(BIN)/jayul ui --open runs/$$run"

test: setup # two files at a time
	$(BIN)/pytest -n 2 --dist loadfile

test-system: setup peers # with counterparts that nobody here wrote; a test that skips fails
	JAYUL_NO_SKIP=1 $(BIN)/pytest tests/system tests/wire tests/web

peers: .peers/.stamp # node-opcua, modbus-serial, Node-RED, axe-core (npm); mosquitto, mbpoll, chromium (Debian)

.peers/.stamp: tests/wire/peers/package.json
	mkdir -p .peers && cp tests/wire/peers/package.json .peers/
	cd .peers && npm install --no-audit --no-fund --loglevel=error
	@command -v mosquitto >/dev/null && command -v mosquitto_pub >/dev/null && command -v mbpoll >/dev/null && command -v chromium >/dev/null \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients mbpoll chromium; } \
		|| { echo "install mosquitto, mosquitto-clients, mbpoll and chromium"; exit 2; }
	@touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs benchmarks *.md
	$(BIN)/python scripts/size.py --check
	$(BIN)/python scripts/docs.py --check
	$(BIN)/pytest -q tests/docs -k "not every_block" # the blocks run in `make test`

crash: setup
	$(BIN)/python -m jayul.conform.crash --kills 200 --cuts 200 --seed $(SEED)
	$(BIN)/python -m jayul.conform.historian --kills 200 --cuts 200 --seed $(SEED)

adversary: setup
	$(BIN)/python -m jayul.conform.adversary --proposals 1000000 --seed $(SEED)

faults: setup
	$(BIN)/python -m jayul.conform.faults --faults 10000 --seed $(SEED)

handback: setup # brain and gateway killed at random moments, seen at the plant; 12 minutes for 100 kills
	$(BIN)/python -m jayul.conform.handback --kills 100 --whom brain --seed $(SEED)
	$(BIN)/python -m jayul.conform.handback --kills 20 --whom gateway --seed $(SEED)

soak: setup
	$(BIN)/python benchmarks/soak.py --json --minutes 30 --tags 2000 --seed $(SEED)

security: setup .security/.stamp # scanner, advisories, and the API fuzzed as each role; about 5 minutes
	$(BIN)/python scripts/security.py

.security/.stamp: pyproject.toml
	$(PYTHON) -m venv .security
	.security/bin/python -m pip install --quiet --disable-pip-version-check bandit==1.9.4 pip-audit==2.10.1 schemathesis==4.32.5
	@touch $@

mutate: setup # about 4 minutes; goes on where it was stopped, and begins anew where code or tests are newer
	@find src tests/guard -name '*.py' -newer mutants/mutmut-stats.json 2>/dev/null | grep -q . && rm -rf mutants || true
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mutate]'
	$(BIN)/mutmut run
	$(BIN)/python scripts/mutants.py

size: setup
	$(BIN)/python scripts/size.py

bench: setup
	$(BIN)/python benchmarks/tick.py --seed $(SEED)

truth: setup
	$(BIN)/python benchmarks/tank_truth.py --seeds 100 --seed $(SEED)

docs: setup
	$(BIN)/python scripts/docs.py

i18n: setup
	$(BIN)/python scripts/i18n.py

golden: setup
	$(BIN)/python scripts/golden.py

clean:
	rm -rf $(VENV) build dist runs mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
