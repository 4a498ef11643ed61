"""From the settings of a dataset to its HDF5 file: read or generate, cluster, split, write."""

import json
import random

import numpy as np

from equidyn.data import conformers, files, store
from equidyn.data.schema import DataError


def build(settings: dict, out: str, code: str = "", workers: int = 2) -> dict[str, int]:
    """Make the dataset file; returns counts (kept, and rejected by reason).

    Raises
    ------
    DataError
        see the readers; also when a file source holds too few structures to split
    """
    seed, rejected, split = settings["seed"], {}, "molecule"
    if settings["source"] == "conformers":
        molecules = conformers.read_molecules(settings["molecules"])
        random.Random(seed).shuffle(molecules)
        wanted = settings["n_molecules"]
        if wanted > len(molecules):
            molecules = conformers.recombine(molecules, wanted, settings["max_atoms"], seed)
        structures, rejected = conformers.build(molecules[:wanted], settings["n_conformers"], settings["temperature"], settings["max_atoms"], seed, workers)
        source, licence = f"GFN2-xTB (tblite) on ETKDG conformers of {settings['molecules']}", "Apache-2.0 (generated)"
    else:
        reader = {"extxyz": files.read_extxyz, "npz": files.read_npz}[settings["source"]]
        structures = [s for path in settings["files"] for s in reader(path, settings["energy_unit"])]
        source, licence = f"{settings['source']}: {', '.join(settings['files'])}", settings["licence"]
        if len({s[0] for s in structures}) <= settings["n_held_out"]:
            split = "frames"  # too few molecules to hold some out: blocks of consecutive frames take their place
            block = max(1, len(structures) // (4 * settings["n_held_out"]))
            structures = [(i // block, *s[1:]) for i, s in enumerate(structures)]
    names = {key: i for i, key in enumerate(dict.fromkeys(s[0] for s in structures))}
    cluster = np.array([names[s[0]] for s in structures])
    if not structures:
        raise DataError(f"{out}: no structure could be labelled; rejected: {rejected}")
    arrays = dict(
        offsets=np.cumsum([0] + [len(s[1]) for s in structures]), numbers=np.concatenate([s[1] for s in structures]),
        positions=np.concatenate([s[2] for s in structures]), forces=np.concatenate([s[4] for s in structures]),
        energy=np.array([s[3] for s in structures]), cluster=cluster, split=store.split_by_cluster(cluster, settings["n_held_out"], seed),
    )  # fmt: skip
    attributes = dict(kind="forces", source=source, licence=licence, split=split, split_seed=seed, code=code, settings=json.dumps(settings, sort_keys=True))
    store.write(out, arrays, attributes)
    force_rms = float(np.sqrt((arrays["forces"] ** 2).mean()))
    return {"structures": len(structures), "molecules": len(names), "force_rms_eV_per_angstrom": round(force_rms, 4), **{f"rejected: {k}": v for k, v in sorted(rejected.items())}}
