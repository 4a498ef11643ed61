"""The voxel cases of the gallery, with stand-ins of the packages that they call; the script for Pythons."""

import doctest
import struct
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from probe.stand_ins import frames

import equidyn
from benchmarks import gallery, gallery_topaz, python_versions

TOPAZ = """#!/bin/sh
# copies volumes: a denoiser that leaves everything as it is
shift
while [ $# -gt 0 ]; do
  case "$1" in
    *.mrc) files="$files $1"; shift;;
    --output) out="$2"; shift 2;;
    *) shift;;
  esac
done
[ -z "$BROKEN" ] || { echo "no such model" >&2; exit 3; }
mkdir -p "$out" && cp $files "$out"
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    path = tmp_path / "topaz"
    path.write_text(TOPAZ)
    path.chmod(0o755)
    monkeypatch.setattr(gallery_topaz, "PROGRAM", [str(path)])


def test_volumes_go_through_files_unchanged(tmp_path):
    data = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    gallery_topaz.write_mrc(tmp_path / "a.mrc", data)
    assert np.array_equal(gallery_topaz.read_mrc(tmp_path / "a.mrc"), data)
    content = (tmp_path / "a.mrc").read_bytes()
    assert struct.unpack("<4i", content[:16]) == (5, 4, 3, 2) and content[208:212] == b"MAP "
    assert struct.unpack("<3i", content[64:76]) == (1, 2, 3) and len(content) == 1024 + 4 * 60
    assert struct.unpack("<2f", content[76:84]) == (data.min(), data.max())
    (tmp_path / "b.mrc").write_bytes(content[:-4])
    with pytest.raises(ValueError, match="expected mode 2 and 1264 bytes"):
        gallery_topaz.read_mrc(tmp_path / "b.mrc")


def test_the_denoiser_is_measured_through_its_command(program, monkeypatch):
    monkeypatch.setattr(gallery_topaz, "GRID", 12)
    monkeypatch.setattr(gallery_topaz, "N_VOLUMES", 2)
    model, heldout = gallery_topaz.load(), gallery_topaz.heldout()
    fields, target = heldout.batches[0].inputs, heldout.batches[0].target
    assert torch.equal(model(fields["noisy"]), fields["noisy"])
    assert target.mean().abs() < 1e-6 and target.square().mean().item() == pytest.approx(1, rel=1e-5)
    found = equidyn.measure(model, heldout, rotations=3, group="cube")["density"]
    assert found.equivariance == 0 and found.total == pytest.approx(gallery_topaz.NOISE**2, rel=0.1)
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(RuntimeError, match="topaz denoise3d ended with 3: no such model"):
        model(fields["noisy"])


def test_a_complex_has_a_ligand_in_the_middle_of_others(monkeypatch):
    names = ["AliphaticCarbonXSHydrophobe", "NitrogenXSDonorAcceptor", "OxygenXSDonorAcceptor"]
    typer = SimpleNamespace(
        num_types=lambda: 3, get_type_names=lambda: names, get_type_radii=lambda: [2.0, 1.75, 1.5]
    )
    molgrid, gninatorch = ModuleType("molgrid"), ModuleType("gninatorch")
    molgrid.defaultGninaReceptorTyper = molgrid.defaultGninaLigandTyper = typer
    molgrid.CoordinateSet = lambda *arrays: arrays
    molgrid.float3 = lambda *centre: centre
    gninatorch.gnina = None
    monkeypatch.setitem(sys.modules, "molgrid", molgrid)
    monkeypatch.setitem(sys.modules, "gninatorch", gninatorch)
    monkeypatch.delitem(sys.modules, "benchmarks.gallery_gnina", raising=False)
    from benchmarks import gallery_gnina

    seen = []
    maker = SimpleNamespace(
        grid_dimensions=lambda n: (n, 2, 2, 2), forward=lambda centre, made, grid: seen.append(made)
    )
    given = frames(20, names=("CH3OH", "CH3CH2OH", "HCOOH", "NH3"))
    assert gallery_gnina.density(maker, given, 0).shape == (6, 2, 2, 2)
    positions, types, radii, n_types = seen[0]
    ligand = types >= 3  # the types of ligands come behind those of receptors
    assert n_types == 6 and 0 < ligand.sum() < len(types) and set(types) <= set(range(6))
    assert np.linalg.norm(positions[ligand], axis=1).max() < 3
    apart = np.linalg.norm(positions[ligand][:, None] - positions[~ligand][None], axis=-1)
    assert 1 < apart.min() < gallery_gnina.AWAY and set(radii) <= {2.0, 1.75, 1.5}
    turn = gallery_gnina.turn(np.random.default_rng(0))
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    monkeypatch.delitem(sys.modules, "benchmarks.gallery_gnina")


def test_cases_of_voxels_ask_for_the_whole_cube():
    for case in gallery.CASES:
        if case.calculator.endswith(".py"):
            asked = gallery._of_voxels(case)
            assert asked[-4:] == ["--group", "cube", "--rotations", "24"]
            text = (gallery.ROOT / "benchmarks" / case.calculator).read_text()
            assert "\ndef load(" in text and "\ndef heldout(" in text
    assert sum(case.calculator.endswith(".py") for case in gallery.CASES) == 2


def test_builds_for_graphics_cards_are_told_apart():
    assert doctest.testmod(python_versions).attempted == 2 and doctest.testmod(python_versions).failed == 0
