"""Sources that are generated or shipped and fit into memory: conformers of listed molecules, synthetic and
experimental backbones.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from equidyn.data import poses, splits, store
from equidyn.data.checks import copies, whole_file
from equidyn.data.checks.findings import Findings, Outcome
from equidyn.data.generate import conformers, molecule_lists
from equidyn.data.listing import attributes_of, counts_of, poses_of, rejections
from equidyn.data.readers import molecules, molecules_wheel
from equidyn.data.readers.records import MOLECULE, Item, part
from equidyn.defaults import LABELS
from equidyn.errors import DataError


@dataclass
class Found:
    """What a generated source gives: arrays but for offsets and split, cluster keys per item, and (where,
    reason) per rejected record.
    """

    kind: str
    source: str
    licence: str
    rows: dict[str, list[np.ndarray]]  # per-row arrays, one entry per item
    items: dict[str, list]  # per-item values
    clusters: list
    where: list[str]  # of every item, for the list of the split
    rejected: list[tuple[str, str]]
    split: str = MOLECULE
    notes: dict | None = None  # counts beside those of rejections
    attributes: dict = field(default_factory=dict)  # of the file, beside those of every dataset


def generate(settings: dict, out: str, code: str, workers: int, folder: Path) -> dict[str, int]:
    """A source that is generated and fits into memory."""
    found = SOURCES[settings["source"]](settings, workers, folder / "resume" / (code or "code"))
    reasons = Counter(reason for _, reason in found.rejected)
    with rejections(folder) as rejected:
        rejected.writerows((record, reason, "") for record, reason in found.rejected)
    if not found.clusters:
        raise DataError(f"{out}: nothing usable in {found.source}; rejected: {dict(reasons)}")
    names = {key: i for i, key in enumerate(dict.fromkeys(found.clusters))}
    split = splits.assign(
        out,
        np.array([names[key] for key in found.clusters]),
        [str(key) for key in names],
        settings,
        found.split,
    )
    arrays = dict(
        offsets=np.cumsum([0, *map(len, found.rows["positions"])]),
        cluster=split.cluster,
        split=split.split,
        **{name: np.concatenate(values) for name, values in found.rows.items()},
        **{name: np.array(values) for name, values in found.items.items()},
    )
    rotations = poses.draw(poses_of(settings), len(found.where), settings["seed"])
    for name in ("positions", "forces"):
        if name in arrays:
            arrays[name] = poses.turn(arrays[name], np.diff(arrays["offsets"]), rotations)
    findings = _checks(found)
    with splits.Lists(folder) as lists:
        for where, side, number in zip(found.where, split.split, split.cluster):
            lists.add(side, int(number), split.names(number), where)
        attributes = attributes_of(settings, found.kind, found.source, found.licence, split, code)
        store.write(out, arrays, attributes | found.attributes)
    findings.add(copies.nearest(out, settings["seed"]))
    findings.write(folder)
    return counts_of(len(found.where), split, found.notes or {}, reasons)


def _checks(found: Found) -> Findings:
    """What the checks say of a generated source: they find faults of the generator."""
    findings, n = Findings(found.kind), len(found.where)
    text = f"{n} items and {len(found.rejected)} rejections"
    findings.add(Outcome("lost-records", "passed", found.source, n + len(found.rejected), text))
    named = len(set(found.clusters))
    text = f"{named} clusters, known by their names; the unit of the split is the {found.split}"
    findings.add(Outcome("identity", "passed", "", n, text))
    if found.kind == "forces":
        labels, columns = whole_file.Labels(found.source), (found.rows["positions"], found.rows["forces"])
        for where, x, f, energy in zip(found.where, *columns, found.items["energy"]):
            item = Item(where, "", {}, figures=whole_file.figures(x[None], np.array([energy]), f[None])[0])
            labels.add([item], [len(x)])
        labels.judge(findings)
    return findings


def _molecules(settings: dict) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(name, SMILES) of the molecules to make conformers of, and (name, reason) of those left out."""
    wanted, limit, seed = settings["n_molecules"], settings["max_atoms"], settings["seed"]
    if "molecules" not in settings:  # downloaded
        return molecules_wheel.drawn(settings["files"][0], wanted, limit, seed)
    left: list[tuple[str, str]] = []
    listed = molecule_lists.read_molecules(settings["molecules"], left)
    random.Random(seed).shuffle(listed)
    large = [name for name, smiles in listed if molecule_lists.n_atoms(smiles) > limit]
    too_large = set(large)
    listed = [row for row in listed if row[0] not in too_large]
    if wanted > len(listed):
        listed = molecule_lists.recombine(listed, wanted, limit, seed)
    return listed[:wanted], left + [(name, "too many atoms") for name in large]


def _conformers(settings: dict, workers: int, resume: Path) -> Found:
    listed, left = _molecules(settings)
    labels = settings.get("labels", LABELS)
    made, failed = conformers.build(
        listed,
        settings["n_conformers"],
        settings["temperature"],
        settings["seed"],
        workers,
        resume,
        labels,
    )
    items, rejected = _items_of(made, listed), left + failed
    if not labels:
        items, refused = _admitted(items, settings)
        rejected += refused
    columns = ("numbers", "positions", "forces") if labels else ("numbers", "positions")
    rows = {name: [item.rows[name] for item in items] for name in columns}
    origin = settings.get("molecules", molecules_wheel.SOURCE)
    return Found(
        kind="forces" if labels else "molecules",
        source=f"{'GFN2-xTB (tblite) on ETKDG' if labels else 'ETKDG'} conformers of {origin}",
        licence="Apache-2.0 (generated)",
        rows=rows,
        items={"energy": [item.values["energy"] for item in items]} if labels else {},
        clusters=[item.cluster for item in items],
        where=[item.where for item in items],
        rejected=rejected,
        notes={"force_rms_eV_per_angstrom": _rms(rows["forces"])} if labels else {},
    )


def _items_of(made: list[tuple], listed: list[tuple[str, str]]) -> list[Item]:
    """Conformers as items, called by the (name, SMILES) of their molecules."""
    first: dict[str | None, str] = {}  # a cluster is called by the first name of its constitution
    clusters = [first.setdefault(molecules.constitution_of(smiles), name) for name, smiles in listed]
    seen, items = Counter(), []
    for molecule, numbers, positions, energy, forces in made:
        name = listed[molecule][0]
        where, cluster = f"{name}, conformer {seen[name]}", clusters[molecule]
        rows = {"numbers": numbers, "positions": positions, "forces": forces}
        items.append(Item(where, cluster, rows, {"energy": energy}))
        seen[name] += 1
    return items


def _admitted(items: list[Item], settings: dict) -> tuple[list[Item], list[tuple[str, str]]]:
    """Items that readers of molecules would keep, and (molecule, reason) of the others."""
    limits = {"voxels": settings["voxels"]} if "voxels" in settings else {}
    kept, refused = [], []
    for item in items:
        result = molecules.admit(item, limits)
        if isinstance(result, Item):
            kept.append(result)
        else:
            refused.append((part(item.where), result.reason))
    return kept, refused


def _rms(forces: list[np.ndarray]) -> float:
    squares, n = sum(float((f**2).sum()) for f in forces), sum(f.size for f in forces)
    return round((squares / max(1, n)) ** 0.5, 4)


def _backbones(settings: dict, workers: int, _resume: Path) -> Found:
    from equidyn.data.generate import backbones

    chains, attempts = backbones.build(
        settings["n_chains"], settings["min_residues"], settings["max_residues"], settings["seed"], workers
    )
    names = [f"synthetic {i}" for i in range(len(chains))]
    return Found(
        kind="backbones",
        source="synthetic C-alpha traces (no real protein)",
        licence="Apache-2.0 (generated)",
        rows=dict(
            positions=chains,
            residues=[np.full(len(c), 255) for c in chains],
            breaks=[np.zeros(len(c)) for c in chains],
        ),
        items={"name": [name.encode() for name in names]},
        clusters=list(range(len(chains))),
        where=names,
        rejected=[],
        split="chain",
        notes={f"attempts discarded: {reason}": n for reason, n in sorted(attempts.items())},
    )


def _chains(settings: dict, _workers: int, _resume: Path) -> Found:
    from equidyn.data.generate import experimental_chains
    from equidyn.data.readers import sequence_clusters

    path = settings["chains"] if "chains" in settings else settings["files"][0]  # downloaded
    chains = experimental_chains.read(path)
    kept, rejected = experimental_chains.fragments(chains, settings)
    label = sequence_clusters.clusters(chains.sequences(), settings)
    first = [chains.names[i] for i in np.unique(label, return_index=True)[1]]  # what a cluster is called
    positions = [chains.positions[f.chain][f.start : f.stop] for f in kept]
    names = [f.name for f in kept]
    whole = sum(len(x) == len(chains.positions[f.chain]) for x, f in zip(positions, kept))
    return Found(
        kind="backbones",
        source=f"{chains.source}: {path}",
        licence=chains.licence,
        rows=dict(
            positions=[(x - x.mean(0)).astype(np.float32) for x in positions],
            residues=[chains.residues[f.chain][f.start : f.stop] for f in kept],
            breaks=[np.zeros(len(x)) for x in positions],
        ),
        items={"name": [name.encode() for name in names]},
        clusters=[first[label[f.chain]] for f in kept],
        where=names,
        rejected=rejected,
        split="sequence cluster",
        notes={"chains": len(chains.names), "taken whole": whole, "fragments": len(kept) - whole},
        attributes={"clusterer": sequence_clusters.clusterer(settings)},
    )


SOURCES = {  # those that are held in memory
    "backbones": _backbones,
    "chains": _chains,
    "conformers": _conformers,
}
