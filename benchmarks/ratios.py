"""Paired ratios and pose moments of docs/results/{poses,plateau}/README.md, from the tables beside them.

    python benchmarks/ratios.py docs/results/plateau/decomposition.csv \\
        --reference raw raw-seed-1 raw-seed-2 --groups raw-penalty-1 raw-copies-4
    python benchmarks/ratios.py docs/results/poses/decomposition.csv --config config/poses.yaml \\
                                --linear-head docs/results/poses/linear_head.csv

Ratios are geometric means over seeds, seed by seed, with Student's 95 % interval, at the last step.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy import stats

from equidyn import config
from equidyn.results import tables
from equidyn.results.claims.poses import groups, points_of
from equidyn.results.claims.replicates import mean_over_seeds

QUANTITIES = ("percent", "total", "equivariance")


def paired(rows: list[dict], runs: list[str], reference: list[str], weights: str) -> str:
    """Ratios of the last rows of runs to those of as many reference runs, in the same order of seeds."""
    told = []
    for quantity in QUANTITIES:
        logs = [
            np.log([tables.curve(rows, run, weights=weights)[-1][quantity] for run in names])
            for names in (runs, reference)
        ]
        value, lo, hi = np.exp(mean_over_seeds(list(logs[0] - logs[1])))
        told.append(f"{quantity} {value:.2f} [{lo:.2f}, {hi:.2f}]")
    return "; ".join(told)


def moments(rows: list[dict], points: dict, predicted: dict[str, float]) -> None:
    """Print the share of the variance of ln(percent), within seeds, that a description of poses explains."""
    for group, members in groups(rows, points).items():
        level, found = points_of(rows, members)
        seeds = np.array([points[p["run"]]["axes"]["seed"] for p in found])
        y = np.log([p["percent"] for p in found])
        within = y - np.array([y[seeds == seed].mean() for seed in seeds])
        told = {
            "second moment": [p["second"] for p in found],
            "fourth moment": [p["fourth"] for p in found],
            "least-squares head": np.log([predicted[p["dataset"]] for p in found]),
        }
        shares = ", ".join(f"{name} {stats.pearsonr(x, within)[0] ** 2:.2f}" for name, x in told.items())
        print(f"{group}, at {level:.3f} x the zero predictor, R² within seeds: {shares}")


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path)
    parser.add_argument("--reference", nargs="+", default=[], help="runs, one per seed")
    parser.add_argument("--groups", nargs="+", default=[], help="names of runs without -SEED")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--linear-head", type=Path)
    asked = parser.parse_args()
    rows = tables.read([asked.table])
    for group in asked.groups:
        runs = [f"{group}-{seed}" for seed in range(len(asked.reference))]
        for weights in ("live", "ema"):
            print(f"{group}, {weights}: {paired(rows, runs, asked.reference, weights)}")
    if asked.config:
        _, points = config.expand(config.read(asked.config))
        with open(asked.linear_head, newline="") as file:
            moments(rows, points, {r["dataset"]: float(r["percent"]) for r in csv.DictReader(file)})


if __name__ == "__main__":
    main()
