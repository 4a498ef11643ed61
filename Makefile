# make results | make test | make lint | make chains | make gallery | make gpu-check | make gpu-data | make gpu-replicate : the environment with the package in it, then that one thing
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: results test lint chains gallery gpu-check gpu-data gpu-replicate
results: .venv/installed
	snakemake --cores all
	@snakemake --cores 1 --report results/workflow-report.html >logs/workflow-report.log 2>&1 || { cat logs/workflow-report.log; exit 1; }
	@echo "report: results/report.html   (by Snakemake: results/workflow-report.html)   claims: results/claims.csv"

test: .venv/installed
	pytest -q -n auto --dist loadfile

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

gpu-check: .venv/installed
	python benchmarks/gpu_check.py --out docs/results/gpu/check.json

# on the CPU, before gpu-replicate; the data files and nothing else of the config
gpu-data: .venv/installed
	snakemake $(addprefix results/gpu-data/data/,conformers.h5 conformers-aligned.h5 voxels.h5 voxels/grids.h5 backbones.h5) --cores all --configfile config/gpu-data.yaml

gpu-replicate: .venv/installed
	for task in forces forces-aligned voxels flow; do python benchmarks/gpu_replicate.py --data results/gpu-data/data --out docs/results/gpu --tasks $$task --seconds 600 || exit 1; done

.venv/installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
