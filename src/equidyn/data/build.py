"""From the settings of a dataset to its HDF5 file: read or generate, cluster, split, write.

A source returns items and rejections. Items that share a cluster key never straddle the split.
"""

import csv
import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from equidyn.data import conformers, files, molecules, store
from equidyn.data.schema import DataError


@dataclass
class Found:
    """What a source gives: arrays but for offsets and split, cluster keys per item, and (where, reason) per rejected record."""

    kind: str
    source: str
    licence: str
    rows: dict[str, list[np.ndarray]]  # per-row arrays, one entry per item
    items: dict[str, list]  # per-item values
    clusters: list
    rejected: list[tuple[str, str]]
    split: str = "molecule"
    notes: dict | None = None  # counts beside those of rejections


def build(settings: dict, out: str, code: str = "", workers: int = 2) -> dict[str, int]:
    """Make the dataset file and, in a folder of its name, ``rejected.csv``; returns counts (kept, and rejected by reason).

    Raises
    ------
    DataError
        see the readers; also when a source gives too little to split
    """
    folder = Path(out).with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    resume = folder / "resume" / (code or "code")
    found = SOURCES[settings["source"]](settings, workers, resume)
    _write_rejected(folder / "rejected.csv", found.rejected)
    reasons: dict[str, int] = {}
    for _, reason in found.rejected:
        phrase = reason.split(":")[0] if found.kind == "backbones" else reason
        reasons[phrase] = reasons.get(phrase, 0) + 1
    if not found.clusters:
        raise DataError(f"{out}: nothing usable in {found.source}; rejected: {reasons}")
    names = {key: i for i, key in enumerate(dict.fromkeys(found.clusters))}
    cluster = np.array([names[key] for key in found.clusters])
    lengths = [len(positions) for positions in found.rows["positions"]]
    arrays = dict(
        offsets=np.cumsum([0, *lengths]), cluster=cluster, split=store.split_by_cluster(cluster, settings["n_held_out"], settings["seed"]),
        **{name: np.concatenate(values) for name, values in found.rows.items()}, **{name: np.array(values) for name, values in found.items.items()},
    )  # fmt: skip
    attributes = dict(
        kind=found.kind, source=found.source, licence=found.licence, split=found.split, split_seed=settings["seed"], code=code, settings=json.dumps(settings, sort_keys=True)
    )
    store.write(out, arrays, attributes)
    shutil.rmtree(folder / "resume", ignore_errors=True)
    return {"items": len(lengths), "clusters": len(names), **(found.notes or {}), **{f"rejected: {reason}": n for reason, n in sorted(reasons.items())}}


def _write_rejected(path: Path, rejected: list[tuple[str, str]]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.part")
    with open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["record", "reason"])
        writer.writerows(rejected)
    os.replace(temporary, path)


def _conformers(settings, workers, resume) -> Found:
    listed = conformers.read_molecules(settings["molecules"])
    random.Random(settings["seed"]).shuffle(listed)
    wanted, labels, limit = settings["n_molecules"], settings.get("labels", True), settings["max_atoms"]
    large = [name for name, smiles in listed if conformers.n_atoms(smiles) > limit]
    listed = [row for row in listed if row[0] not in set(large)]
    if wanted > len(listed):
        listed = conformers.recombine(listed, wanted, limit, settings["seed"])
    structures, rejected = conformers.build(listed[:wanted], settings["n_conformers"], settings["temperature"], settings["seed"], workers, resume, labels)
    rejected = [(name, "too many atoms") for name in large] + rejected
    source = f"{'GFN2-xTB (tblite) on ETKDG' if labels else 'ETKDG'} conformers of {settings['molecules']}"
    if not labels:
        return _molecules(settings, source, "Apache-2.0 (generated)", [(s[0], s[1], s[2], listed[s[0]][0]) for s in structures], rejected)
    return _forces(source, "Apache-2.0 (generated)", structures, rejected)


def _forces(source, licence, structures, rejected, split="molecule") -> Found:
    rows = {name: [s[i] for s in structures] for name, i in (("numbers", 1), ("positions", 2), ("forces", 4))}
    squares = sum(float((s[4] ** 2).sum()) for s in structures)
    notes = {"force_rms_eV_per_angstrom": round((squares / max(1, sum(s[4].size for s in structures))) ** 0.5, 4)}
    return Found("forces", source, licence, rows, {"energy": [s[3] for s in structures]}, [s[0] for s in structures], rejected, split, notes)


def _molecules(settings, source, licence, geometries, rejected, notes=None) -> Found:
    """Geometries alone, (cluster key, numbers, positions, where); those with elements outside the channels are rejected."""
    kept = geometries
    if box := settings.get("voxels"):
        table, kept = molecules.channel_of(box["elements"]), []
        for molecule in geometries:
            foreign = sorted({molecules.symbol(z) for z in molecule[1][table[molecule[1]] == 255]})
            if foreign:
                rejected.append((molecule[3], f"element outside the channels: {' '.join(foreign)}"))
            else:
                kept.append(molecule)
    rows = {"numbers": [m[1] for m in kept], "positions": [m[2] for m in kept]}
    return Found("molecules", source, licence, rows, {}, [m[0] for m in kept], rejected, notes=notes)


def _force_files(settings, workers, resume) -> Found:
    reader = {"extxyz": files.read_extxyz, "npz": files.read_npz}[settings["source"]]
    structures, split = [s for path in settings["files"] for s in reader(path, settings["energy_unit"])], "molecule"
    if len({s[0] for s in structures}) <= settings["n_held_out"]:
        split = "frames"  # too few molecules to hold some out: blocks of consecutive frames take their place
        block = max(1, len(structures) // (4 * settings["n_held_out"]))
        structures = [(i // block, *s[1:]) for i, s in enumerate(structures)]
    return _forces(f"{settings['source']}: {', '.join(settings['files'])}", settings["licence"], structures, [], split)


def _molecule_files(settings, workers, resume) -> Found:
    reader = {"sdf": molecules.read_sdf, "xyz": molecules.read_xyz}[settings["source"]]
    kept, rejected, bare = [], [], 0
    for path in settings["files"]:
        found, bad, without = reader(path)
        rejected += bad
        bare += without
        for record in found:
            if len(record[1]) > settings.get("max_atoms", np.inf):
                rejected.append((record[3], "too many atoms"))
            else:
                kept.append(record)
    return _molecules(settings, f"{settings['source']}: {', '.join(settings['files'])}", settings["licence"], kept, rejected, {"with hydrogens missing": bare})


def _backbones(settings, workers, resume) -> Found:
    from equidyn.data import backbones

    chains, attempts = backbones.build(settings["n_chains"], settings["min_residues"], settings["max_residues"], settings["seed"], workers)
    rows = dict(positions=chains, residues=[np.full(len(c), 255) for c in chains], breaks=[np.zeros(len(c)) for c in chains])
    notes = {f"attempts discarded: {reason}": n for reason, n in sorted(attempts.items())}
    names = [f"synthetic {i}".encode() for i in range(len(chains))]
    return Found("backbones", "synthetic C-alpha traces (no real protein)", "Apache-2.0 (generated)", rows, {"name": names}, list(range(len(chains))), [], "chain", notes)


def _structures(settings, workers, resume) -> Found:
    from equidyn.data import structures

    chains, rejections = structures.read_structures(settings["files"], settings["min_residues"], settings["max_residues"], settings.get("max_resolution"))
    label = structures.cluster_by_sequence([chain.sequence for chain in chains], settings["identity"]) if chains else []
    rows, items, clusters, short, unused = dict(positions=[], residues=[], breaks=[]), {"name": []}, [], [], 0
    for chain, cluster in zip(chains, label):
        length = settings.get("fragment", len(chain.positions))
        if len(chain.positions) < length:
            short.append((chain.name, f"shorter than the fragment: {len(chain.positions)} residues"))
        unused += len(chain.positions) % length
        for start in range(0, len(chain.positions) - length + 1, length):
            piece = slice(start, start + length)
            rows["positions"].append(chain.positions[piece])
            rows["residues"].append(chain.residues[piece])
            rows["breaks"].append(np.append(chain.breaks[piece][:-1], 0))  # what follows the last residue of a piece is not in it
            items["name"].append(f"{chain.name}/{start + 1}".encode() if "fragment" in settings else chain.name.encode())
            clusters.append(int(cluster))
    rejected = [(f"{r.file}, chain {r.chain}" if r.chain else r.file, r.reason) for r in rejections] + short
    return Found(
        "backbones",
        f"structures: {', '.join(settings['files'])}",
        settings["licence"],
        rows,
        items,
        clusters,
        rejected,
        "sequence cluster",
        {"chains": len(chains), "residues left over by fragments": unused},
    )


SOURCES = {
    "backbones": _backbones,
    "structures": _structures,
    "conformers": _conformers,
    "extxyz": _force_files,
    "npz": _force_files,
    "sdf": _molecule_files,
    "xyz": _molecule_files,
}
