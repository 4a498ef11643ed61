"""Disk, memory and hours of a config, before anything of it runs.

snakemake estimate --cores 1 --configfile config/paper.yaml
equidyn estimate --configfile config/paper.yaml --device-name H100 --device-flops 67e12 --utilisation 0.3
equidyn estimate --measure-cpu                                    # adds this machine to the table of
    throughputs
equidyn estimate --add-gpu docs/results/gpu/check.json            # adds what `make gpu-check` wrote
"""

import json
import math
import sys
from pathlib import Path

import torch

from equidyn import config as configuration
from equidyn.cost import estimate as cost
from equidyn.cost import throughput
from equidyn.download.table import read_table
from equidyn.errors import ArgumentError
from equidyn.results.columns import ESTIMATE
from equidyn.results.tables import write_table

STANDARD_INPUT = Path("-")


def estimate(
    configfile: Path | None = None,
    resources: Path = Path("resources"),
    data: Path | None = None,
    device: list[str] | None = None,
    device_name: str = cost.Assumed.name,
    device_flops: float = cost.Assumed.peak,
    utilisation: float = cost.Assumed.utilisation,
    measure_cpu: bool = False,
    add_gpu: Path | None = None,
    threads: int = 1,
    out: Path | None = None,
) -> None:
    """Print the estimate of a config, and write it as a table; add to the table of throughputs before, if
    asked to.

    Parameters
    ----------
    configfile : YAML; ``-`` reads JSON from standard input that the caller has checked and expanded
    resources : folder with throughput.csv and datasets.yaml
    data : folder of dataset files, which are counted where they exist
    device : of the table of throughputs, to give hours on; all of it by default
    device_name, device_flops, utilisation : a card that nothing was measured on, its peak in FLOP/s, and the
        share
        of it that is assumed to be reached
    measure_cpu : measure small models here, on ``threads``;  add_gpu : file of benchmarks/gpu_check.py

    Raises
    ------
    ArgumentError
        a share outside (0, 1], a peak that is not positive
    ConfigError, DataError
        see ``config.read``, ``config.validate``, ``throughput.read``, ``download.table.read_table``
    """
    if not 0 < utilisation <= 1 or not 0 < device_flops < math.inf:
        raise ArgumentError(
            f"estimate: utilisation {utilisation}, device_flops {device_flops:g}, "
            "expected a share in (0, 1] and a positive number"
        )
    table = resources / "throughput.csv"
    if measure_cpu or add_gpu:
        torch.set_num_threads(threads)
        measured = throughput.measured_on_cpu() if measure_cpu else []
        throughput.write(table, measured + (throughput.measured_on_gpu(add_gpu) if add_gpu else []))
        print(table.read_text())
    if configfile is None:
        return
    throughputs = throughput.read(table)
    devices = device or sorted({row["device"] for row in throughputs})
    assumed = cost.Assumed(device_name, device_flops, utilisation)
    downloads = read_table(resources / "datasets.yaml")
    rows = cost.estimate(_read_config(configfile), throughputs, devices, assumed, data, downloads)
    print(cost.text(rows))
    if out:
        write_table(out, rows, list(ESTIMATE))


def _read_config(path: Path) -> dict:
    """The expanded config."""
    if path == STANDARD_INPUT:
        return json.load(sys.stdin)
    config = configuration.read(path)
    configuration.validate(config)
    return configuration.expand(config)[0]
