"""Sources of datasets as typed models, see ``sections``."""

from typing import Annotated, Any, Literal

from pydantic import Field

from equidyn.config.sections import ABSENT, AboveZero, Distinct, Positive, Section
from equidyn.defaults import (
    CLUSTERER,
    ENERGIES_KEY,
    ENERGY_KEY,
    FORCES_KEY,
    LABELS,
    LEAKS,
    N_CONFORMERS,
    NEUTRAL,
    POSES,
    POSES_OF_CONFORMERS,
)

Listed = Annotated[list[str], Field(min_length=1)]
Entries = Annotated[list[str], Distinct, Field(min_length=1)]
OVERRIDE = "checks whose refusals are overridden, by name; the report says what they found"
OF_LABELS = Literal["zero-labels", "net-torque", "energy-forces", "xtb", "periodic", "copies"]


class Box(Section):
    """Grid of the task voxels."""

    elements: Entries = Field(description="one channel each, in this order")
    grid: int = Field(ge=2, description="voxels per edge")
    resolution: AboveZero = Field(description="voxel edge in Å")
    radius: AboveZero = Field(description="atomic radius in Å")


class SplitList(Section):
    """A published split as a list: the ``split.csv`` of a conversion."""

    file: str = Field(description="a split.csv, as a conversion writes it: columns split and where")
    sha256: str = Field(ABSENT, pattern="^[0-9a-f]{64}$", description="of the file; another one is refused")


class Source(Section):
    """What every dataset has."""

    source: str = Field(description="one of those below")
    n_held_out: Positive = Field(description="molecules or clusters held out of training")
    poses: Literal["as-made", "haar"] = Field(
        POSES,
        description="`haar`: one random rotation per structure, drawn once from the seed, vectors turned "
        "with it; or as the source has them",
    )


class Files(Source):
    """Files of others: a licence, and a split of ours or a published one."""

    files: Listed = Field(
        ABSENT, description="paths, also .gz, .bz2, .xz and archives (.tar.gz, .tar.bz2, .tar.xz, .zip)"
    )
    download: Entries = Field(
        ABSENT,
        description="entries of `resources/datasets.yaml` in place of files: they are downloaded first",
    )
    licence: str = Field(description="licence of the data, stored in the file")
    n_held_out: Positive = Field(
        ABSENT,
        description="molecules, clusters or blocks of frames held out of training; of a published split "
        "(then optional): so many of its held-out clusters",
    )
    held_out_files: Entries = Field(
        ABSENT,
        description="a published split: the items of these files are held out, those of files are trained on",
    )
    held_out_download: Entries = Field(
        ABSENT, description="entries of `resources/datasets.yaml` in place of held_out_files"
    )
    split_list: SplitList = Field(
        ABSENT,
        description="a published split as a list, `{file, sha256}`: each item is on the side that the list "
        "says, subject to leaks; items that it does not name are rejected",
    )
    leaks: Literal["drop", "refuse", "keep"] = Field(
        LEAKS,
        description="of a published split: what becomes of training items whose molecule is also held out",
    )


class Conformers(Source):
    """Conformers made here of listed molecules."""

    source: Literal["conformers"]
    molecules: str = Field(
        ABSENT, description="CSV with a column smiles (and name), or lines of SMILES (`.smi`); also `.gz`"
    )
    download: Annotated[list[str], Field(min_length=1, max_length=1)] = Field(
        ABSENT,
        description="in place of molecules: the entry molsets of `resources/datasets.yaml`, a wheel with 1.6 "
        "million drug-like molecules, of which n_molecules of at most max_atoms are drawn",
    )
    n_molecules: int = Field(
        ge=2, description="distinct molecules; above the CSV's number, BRICS recombination adds some"
    )
    n_conformers: int = Field(ge=2, description="structures in all")
    temperature: AboveZero = Field(description="K, of the harmonic displacement")
    max_atoms: int = Field(ge=2, description="larger molecules are dropped and counted")
    labels: bool = Field(LABELS, description="whether to compute energies and forces")
    voxels: Box = Field(ABSENT, description="grid of the task voxels: `{elements, grid, resolution, radius}`")
    poses: Literal["as-made", "haar"] = Field(
        POSES_OF_CONFORMERS,
        description="as above; their generator lays them along their principal axes",
    )


class Turned(Section):
    """Another dataset's structures, labels and split in other poses; nothing is labelled twice."""

    source: Literal["turned"]
    of: str = Field(description="dataset whose structures, labels and split these are")
    poses: Literal["as-made", "haar"] = Field(description="as above")
    share: float = Field(
        ABSENT,
        ge=0,
        le=1,
        description="with `poses: haar`: the share of structures that are turned, the others as made",
    )
    cone: float = Field(
        ABSENT,
        gt=0,
        le=180,
        description="with `poses: haar`: the largest angle in degrees, the axis at random; not beside share",
    )


class Labelled(Files):
    """extxyz, or npz in the layout of rMD17."""

    source: Literal["extxyz", "npz"]
    energy_unit: Literal["eV", "kcal/mol", "hartree"] = Field(
        description="unit of the energies; forces in that unit per Å"
    )
    energy_key: str = Field(
        ABSENT,
        min_length=1,
        description=f"what the file calls energies (`{ENERGY_KEY}`; npz: `{ENERGIES_KEY}`)",
    )
    forces_key: str = Field(ABSENT, min_length=1, description=f"what the file calls forces (`{FORCES_KEY}`)")
    accept: Annotated[list[OF_LABELS], Distinct] = Field(ABSENT, description=OVERRIDE)


class Spice(Files):
    """HDF5 in the layout of the SPICE releases; units from its attributes."""

    source: Literal["spice"]
    elements: Entries = Field(ABSENT, description="molecules with other elements are rejected and counted")
    neutral: bool = Field(NEUTRAL, description="reject molecules whose SMILES has a formal charge")
    accept: Annotated[list[OF_LABELS], Distinct] = Field(ABSENT, description=OVERRIDE)


class Molecules(Files):
    """SDF, or XYZ (also QM9's raw files)."""

    source: Literal["sdf", "xyz"]
    max_atoms: Positive = Field(ABSENT, description="larger molecules are dropped and counted")
    voxels: Box = Field(ABSENT, description="grid of the task voxels: `{elements, grid, resolution, radius}`")
    accept: Annotated[list[Literal["periodic", "three-dimensional", "copies"]], Distinct] = Field(
        ABSENT, description=OVERRIDE
    )


class Geom(Files):
    """Pickles of GEOM-drugs in the published split (SMILES and RDKit conformers)."""

    source: Literal["geom"]
    n_conformers: Positive = Field(N_CONFORMERS, description="the first so many of every molecule")
    max_atoms: Positive = Field(ABSENT, description="larger molecules are dropped and counted")
    voxels: Box = Field(ABSENT, description="grid of the task voxels: `{elements, grid, resolution, radius}`")
    accept: Annotated[list[Literal["three-dimensional", "copies"]], Distinct] = Field(
        ABSENT, description=OVERRIDE
    )


class Backbones(Source):
    """Synthetic chains."""

    source: Literal["backbones"]
    n_chains: int = Field(ge=2, description="synthetic chains")
    min_residues: int = Field(ge=20, description="shortest chain")
    max_residues: int = Field(ge=20, description="longest chain")


class Chains(Source):
    """Experimental chains, shipped."""

    source: Literal["chains"]
    chains: str = Field(
        ABSENT, description="file of experimental chains (npz), such as `resources/backbones/chains.npz`"
    )
    download: Annotated[list[str], Field(min_length=1, max_length=1)] = Field(
        ABSENT,
        description="in place of chains: the entry cgdms of `resources/datasets.yaml`, the wheel that the "
        "shipped file was made from",
    )
    n_chains: int = Field(ABSENT, ge=2, description="at most so many, a random subset; all where absent")
    min_residues: int = Field(ge=20, description="shorter chains are rejected and counted; shortest fragment")
    max_residues: int = Field(
        ge=20,
        description="longest fragment: of a longer chain one is taken, of random length at a random place",
    )
    identity: float = Field(
        gt=0, le=1, description="sequence identity above which whole chains share a cluster"
    )
    clusterer: Literal["greedy", "mmseqs"] = Field(
        CLUSTERER,
        description="what finds clusters: greedy, built in, or mmseqs, which must be on PATH",
    )


class Structures(Files):
    """Files, folders or archives of mmCIF or PDB files."""

    source: Literal["structures"]
    min_residues: int = Field(ge=3, description="shorter chains are rejected and counted")
    max_residues: int = Field(ge=3, description="longer chains are rejected and counted")
    max_resolution: AboveZero = Field(
        ABSENT,
        description="Å; entries that state a worse one, none, or a method without one (NMR) are rejected; "
        "files without any metadata are kept and counted",
    )
    fragment: int = Field(ABSENT, ge=3, description="cut chains into pieces of this many residues")
    identity: float = Field(gt=0, le=1, description="sequence identity above which chains share a cluster")
    clusterer: Literal["greedy", "mmseqs"] = Field(
        CLUSTERER,
        description="what finds clusters: greedy, built in, or mmseqs, which must be on PATH",
    )
    accept: Annotated[list[Literal["hand", "copies"]], Distinct] = Field(ABSENT, description=OVERRIDE)


class Outside(Files):
    """A source that a reader of ``extensions`` declares."""

    options: dict[str, Any] = Field(ABSENT, description="of the reader, which checks them")
    voxels: Box = Field(ABSENT, description="grid of the task voxels: `{elements, grid, resolution, radius}`")
    accept: Annotated[list[str], Distinct] = Field(ABSENT, description=OVERRIDE)


SOURCES: dict[str, type[Section]] = {
    "conformers": Conformers,
    "turned": Turned,
    "extxyz": Labelled,
    "npz": Labelled,
    "spice": Spice,
    "sdf": Molecules,
    "xyz": Molecules,
    "geom": Geom,
    "backbones": Backbones,
    "chains": Chains,
    "structures": Structures,
}
