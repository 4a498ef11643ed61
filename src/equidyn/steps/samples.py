"""Generate backbones from the last checkpoint of a flow run (EMA weights), beside as many held-out chains."""

import os
import shutil
from pathlib import Path

from equidyn.analysis import sampling
from equidyn.results.columns import SAMPLES
from equidyn.results.tables import write_table
from equidyn.steps.run import load, read_settings
from equidyn.training import checkpoint


def samples(config: Path, data: Path, model: Path, out: Path, table: Path, threads: int = 1) -> None:
    """Write PDB files into the folder ``out``, and statistics of both kinds of chains as ``table``.

    Parameters
    ----------
    model : ``model.pt`` of the run
    """
    run = load(read_settings(config), data, threads=threads)
    run.model.load_state_dict(checkpoint.load(model)["ema"])
    n, steps = run.settings["sample"]["n_chains"], run.settings["sample"]["steps"]
    real = run.task.held_out_chains(n)
    made = sampling.sample(run.model, [len(chain) for chain in real], steps, run.settings["seed"])
    source = run.task.source
    source = "chains of structure files" if source.startswith("structures") else source.split(" (")[0]
    staged = out.with_name(f".{out.name}.{os.getpid()}")
    staged.mkdir(parents=True)
    _write_chains(staged, "generated", f"generated; trained on {source}", made)
    _write_chains(staged, "held_out", source, real)
    shutil.rmtree(out, ignore_errors=True)
    os.replace(staged, out)
    both = {"generated": made, "held out": real}
    write_table(
        table,
        [dict(chains=name, **sampling.statistics(found)) for name, found in both.items()],
        list(SAMPLES),
    )


def _write_chains(folder: Path, name: str, title: str, chains: list) -> None:
    for i, chain in enumerate(chains):
        sampling.write_pdb(folder / f"{name}_{i:03d}.pdb", chain, title)
