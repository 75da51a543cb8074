# Sets up, builds, tests and shows normtweak. `make` alone lists what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help setup build test demo lint format clean

BUILD_TYPE ?= Release
JOBS ?= $(shell nproc)
SOURCES ?= src/normtweak/
export TORCH_PYTHON TORCH_INDEX DEPENDENCIES
# So that another clone finds in the cache what this one compiled; its debuggers then look for sources here.
export CCACHE_BASEDIR ?= $(CURDIR)
export CCACHE_NOHASHDIR ?= true

# The interpreter that holds torch: TORCH_PYTHON, a path or a command, or else that of .venv.
PYTHON := $(if $(TORCH_PYTHON),$(abspath $(shell command -v "$(TORCH_PYTHON)")),$(CURDIR)/.venv/bin/python)
OPTIONS = -DNORMTWEAK_PYTHON="$(PYTHON)" -DNORMTWEAK_DEPENDENCIES="$(if $(DEPENDENCIES),$(abspath $(DEPENDENCIES)))"

help: ## This list
	@echo "normtweak: low-bit language models, made better without a byte or an operation more"
	echo
	awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	echo
	printf '%s\n' 'Variables, as in `make build JOBS=4`:' \
	  '  TORCH_PYTHON=FILE   use the torch of this Python interpreter; no .venv is made, nothing is installed into it' \
	  '  TORCH_INDEX=URL     one more package index for torch when .venv is made, for example that of the CPU wheels,' \
	  '                      which are a tenth of the size (pip'"'"'s own PIP_INDEX_URL and PIP_EXTRA_INDEX_URL work too)' \
	  '  DEPENDENCIES=DIR    headers and libraries from tools/gather_dependencies.sh, in place of Debian packages' \
	  '  BUILD_TYPE=TYPE     Release (default), Debug, RelWithDebInfo' \
	  '  JOBS=N              compilers, and tests, at the same time (default: the number of processors)' \
	  '  SOURCES=REGEX       for `make lint`: the files that clang-tidy looks at, such as src/normtweak/base (20 s a file)' \
	  '  NORMTWEAK_TEST_DATA=DIR   texts that some tests and the demo measure on: wikitext-2-raw/wiki.test.raw, ...' \
	  '  ROWS=FILE SAMPLES=N TOKENS=N MAX_TOKENS=N   for `make demo`: see tools/demo.py --help'

setup: ## Install what the build needs: Debian packages, and torch in .venv
	@tools/setup build

build: setup ## The program, at build/normtweak
	@tools/configure build -DCMAKE_BUILD_TYPE=$(BUILD_TYPE) $(OPTIONS)
	cmake --build build -j $(JOBS) --target program

test: ## All tests, with AddressSanitizer too where bytes are parsed; ends with ctest's summary
	@tools/setup test
	tools/configure build -DCMAKE_BUILD_TYPE=$(BUILD_TYPE) $(OPTIONS)
	cmake --build build -j $(JOBS)
	tools/configure build/sanitized -DCMAKE_BUILD_TYPE=Debug -DNORMTWEAK_SANITIZE=ON $(OPTIONS)
	cmake --build build/sanitized -j $(JOBS)
	ctest --test-dir build --output-on-failure -j $(JOBS)

demo: build ## A real model at 4 and 3 bits, before and after the tweak; figures in demo/report.json
	@model=$$("$(PYTHON)" tools/fetch_demo_model)
	"$(PYTHON)" -u tools/demo.py "$$model"

lint: ## clang-format and clang-tidy over the sources, and the layers
	@tools/setup lint
	tools/check_layers.py src/normtweak
	tools/check_format
	# Without the precompiled header and OpenMP's, which are GCC's and which clang cannot read.
	tools/configure build/lint -DCMAKE_BUILD_TYPE=$(BUILD_TYPE) -DNORMTWEAK_PRECOMPILED=OFF $(OPTIONS)
	run-clang-tidy-16 -quiet -j $(JOBS) -p build/lint -extra-arg=-fno-openmp "$(CURDIR)/$(SOURCES)"

format: ## Rewrite the sources as clang-format wants them
	@tools/setup lint
	tools/check_format --fix

clean: ## Remove what was built (not .venv, .cache and demo)
	@rm -rf build
