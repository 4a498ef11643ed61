"""Generate backbones from the last checkpoint of a flow run (EMA weights): PDB files, and a table beside the held-out chains'."""

import argparse
import csv
import os
import shutil
from pathlib import Path

import _cli
import torch
import yaml

from equidyn import sampling, tasks
from equidyn.config import resolve_device
from equidyn.models import registry
from equidyn.training import checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder of PDB files")
    parser.add_argument("--table", required=True, type=Path, help="CSV of statistics")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = yaml.safe_load(args.config.read_text())
    device = resolve_device(settings["device"])
    task = tasks.build(settings["task"], str(args.data), settings, device)
    model = registry.build(settings["model"]["architecture"], settings["model"]["size"], **settings["model"].get("options", {})).eval().to(device)
    model.load_state_dict(checkpoint.load(args.model)["ema"])
    n, steps = settings["sample"]["n_chains"], settings["sample"]["steps"]
    real = task.held_out_chains(n)
    made = sampling.sample(model, [len(chain) for chain in real], steps, settings["seed"])
    staged = args.out.with_name(f".{args.out.name}.{os.getpid()}")
    staged.mkdir(parents=True)
    for name, chains in (("generated", made), ("held_out", real)):
        for i, chain in enumerate(chains):
            sampling.write_pdb(staged / f"{name}_{i:03d}.pdb", chain)
    shutil.rmtree(args.out, ignore_errors=True)
    os.replace(staged, args.out)
    temporary = args.table.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        rows = [dict(chains=name, **sampling.statistics(chains)) for name, chains in (("generated", made), ("held out", real))]
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, args.table)


if __name__ == "__main__":
    _cli.run(main)
