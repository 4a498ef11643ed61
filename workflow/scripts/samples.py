"""Generate backbones from the last checkpoint of a flow run (EMA weights): PDB files, and a table beside the held-out chains'."""

import os
import shutil
from pathlib import Path

import _cli

from equidyn import runs, sampling
from equidyn.training import checkpoint


def main() -> None:
    parser = runs.arguments(__doc__)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--table", required=True, type=Path, help="CSV of statistics")
    args = parser.parse_args()
    settings = runs.read_settings(args)
    run = runs.build(args, settings)
    task, model = run.task, run.model
    model.load_state_dict(checkpoint.load(args.model)["ema"])
    n, steps = settings["sample"]["n_chains"], settings["sample"]["steps"]
    real = task.held_out_chains(n)
    made = sampling.sample(model, [len(chain) for chain in real], steps, settings["seed"])
    staged = args.out.with_name(f".{args.out.name}.{os.getpid()}")
    staged.mkdir(parents=True)
    source = "chains of structure files" if task.source.startswith("structures") else task.source
    for name, title, chains in (("generated", f"generated; trained on {source}", made), ("held_out", source, real)):
        for i, chain in enumerate(chains):
            sampling.write_pdb(staged / f"{name}_{i:03d}.pdb", chain, title)
    shutil.rmtree(args.out, ignore_errors=True)
    os.replace(staged, args.out)
    rows = [dict(chains=name, **sampling.statistics(chains)) for name, chains in (("generated", made), ("held out", real))]
    runs.write_table(args.table, rows)


if __name__ == "__main__":
    _cli.run(main)
