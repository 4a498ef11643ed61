"""Disk, memory and hours of a config, before anything of it runs.

snakemake estimate --cores 1 --configfile config/paper.yaml
PYTHONPATH=src python workflow/scripts/estimate.py --configfile config/paper.yaml --device-name H100 --device-flops 67e12 --utilisation 0.3
PYTHONPATH=src python workflow/scripts/estimate.py --measure-cpu                                   # adds this machine to the table
PYTHONPATH=src python workflow/scripts/estimate.py --add-gpu docs/results/gpu/check.json           # adds what `make gpu-check` wrote
"""

import argparse
import json
import sys
from pathlib import Path

import _cli
import yaml

from equidyn import config as configuration
from equidyn import estimate, runs, throughput
from equidyn.data import catalogue

REPOSITORY = Path(__file__).resolve().parents[2]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, help="config (YAML)")
    parser.add_argument("--config", choices=("-",), help="the same from standard input, as JSON, checked and expanded by the caller")
    parser.add_argument("--throughput", type=Path, default=REPOSITORY / "resources/throughput.csv")
    parser.add_argument("--table", type=Path, default=REPOSITORY / "resources/datasets.yaml", help="table of datasets, for the sizes of downloads")
    parser.add_argument("--data", type=Path, help="folder of dataset files, which are counted where they exist")
    parser.add_argument("--device", action="append", help="device of the table to give hours on; default: all of it")
    parser.add_argument("--device-name", default=estimate.Assumed.name, help="name of a card that nothing was measured on")
    parser.add_argument("--device-flops", type=float, default=estimate.Assumed.peak, help="its peak in FLOP/s (float32); default %(default).3g")
    parser.add_argument("--utilisation", type=float, default=estimate.Assumed.utilisation, help="share of the peak that is assumed to be reached; default %(default)s")
    parser.add_argument("--measure-cpu", action="store_true", help="measure the tiny and mini models here and add them to the table")
    parser.add_argument("--add-gpu", type=Path, help="file of benchmarks/gpu_check.py --out to add to the table")
    parser.add_argument("--threads", type=int, default=1, help="of --measure-cpu")
    parser.add_argument("--out", type=Path, help="CSV file")
    args = parser.parse_args()
    if not 0 < args.utilisation <= 1 or not 0 < args.device_flops < float("inf"):
        parser.error(f"--utilisation {args.utilisation} --device-flops {args.device_flops:g}: expected a share in (0, 1] and a positive number")
    return args


def read_config(args: argparse.Namespace) -> dict:
    """The expanded config of either option."""
    if args.config:
        return json.load(sys.stdin)
    config = yaml.safe_load(args.configfile.read_text())
    configuration.validate(config, REPOSITORY / "workflow/schemas/config.schema.json")
    return configuration.expand(config)[0]


def main() -> None:
    args = arguments()
    if args.measure_cpu or args.add_gpu:
        import torch

        torch.set_num_threads(args.threads)
        rows = (throughput.measured_on_cpu() if args.measure_cpu else []) + (throughput.measured_on_gpu(args.add_gpu) if args.add_gpu else [])
        throughput.write(args.throughput, rows)
        print(args.throughput.read_text())
    if args.config is None and args.configfile is None:
        return
    throughputs = throughput.read(args.throughput)
    devices = args.device or sorted({row["device"] for row in throughputs})
    assumed = estimate.Assumed(args.device_name, args.device_flops, args.utilisation)
    rows = estimate.estimate(read_config(args), throughputs, devices, assumed, args.data, catalogue.read_table(args.table))
    print(estimate.text(rows))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        runs.write_table(args.out, rows, estimate.COLUMNS)


if __name__ == "__main__":
    _cli.run(main)
