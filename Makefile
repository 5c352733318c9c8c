# `make demo` and `make test` set up everything they need in .venv; the second time they start at once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.chappe-dev

.PHONY: demo test lint venv sums clean
.DELETE_ON_ERROR:

demo: venv
	$(BIN)/chappe demo --out chappe-demo.png

test: lint
	$(BIN)/python -m pytest -q

lint: venv
	$(BIN)/ruff check .

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("chappe needs Python 3.11 or newer: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

# After new weights: the list that `chappe doctor` checks.
sums:
	cd src/chappe/weights && find . -type f \( -name '*.safetensors' -o -name '*.packed' -o -name '*.json' -o -name '*.bin' \) \
		| sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum > SHA256SUMS

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis chappe-demo.png
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
