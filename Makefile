# make demo | test | check | coverage | fuzz | test-gpu | bench DATA=FOLDER_OF_IMAGES | clean. With a GPU: make demo EXTRA=gpu
PYTHON ?= python3
VENV   ?= .venv
EXTRA  ?= cpu
EXTRAS_cpu = cpu,rtx,demo,dev
EXTRAS_gpu = gpu,demo,dev
CHECK_gpu  = $(PYTHON) -m wrn_deploy.pipeline.inspection.toolkit
READY  = $(VENV)/.ready-$(EXTRA)
RUN    = $(VENV)/bin/
TESTS  = tests
SECONDS ?= 60

.PHONY: demo test check coverage fuzz bench test-gpu clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(RUN)wrn-deploy demo --out demo

test: $(READY)
	$(RUN)python -m pytest -m "not gpu" -n auto --dist loadfile

test-gpu: $(READY)
	$(RUN)python -m pytest -m gpu

check: $(READY)
	$(RUN)ruff check . && $(RUN)ruff format --check . && $(RUN)mypy && $(RUN)python -m pytest -q tests/test_imports.py

# Prints what the tests do not reach, file by file; build/coverage/ has JSON and HTML. With TESTS=... of some tests only.
coverage: $(READY)
	rm -rf build/coverage && mkdir -p build/coverage
	$(RUN)python -m coverage run -m pytest -q -m "not gpu" -n auto --dist loadfile $(TESTS)
	$(RUN)python -m coverage combine --quiet
	$(RUN)python -m coverage json --quiet && $(RUN)python -m coverage html --quiet && $(RUN)python -m coverage report

# Searches for files that break a reader: SECONDS for each target, or for those in TARGETS; finds are kept in build/fuzz/.
fuzz: $(READY)
	$(RUN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt atheris
	$(RUN)python -m tests.fuzzing.search --seconds $(SECONDS) $(TARGETS)

bench: $(READY)
	$(RUN)python -m benchmarks.steps.imagenet --data "$(DATA)"

# One environment for one EXTRA: onnxruntime and onnxruntime-gpu overwrite each other's files. With EXTRA=gpu PyCUDA is
# compiled: what its compiler lacks is said before pip starts.
$(READY): pyproject.toml constraints.txt
	$(CHECK_$(EXTRA))
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(RUN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS_$(EXTRA))]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
