"""Does `equidyn measure` run on other versions of Python than that of the tests?

    python benchmarks/python_versions.py --python python3.12 --python python3.13 [--any-build] [--keep]

For each interpreter: a new environment with torch and ``.[calculators]``, out of whatever package indices pip
is configured for, and `equidyn measure` with ase's EMT on 20 displaced molecules, which must come out as
exact. Prints a line with date and versions. Taken are CPU builds of torch alone; where pip offers but one
that wants CUDA packages (gigabytes), that is said, and ``--any-build`` takes it all the same.

Exit code 0 if every interpreter with a build to be had measured EMT as exact, else 1.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GRAPHICS_CARDS = ("nvidia-", "cuda-", "triton", "rocm")  # beginnings of packages that a CPU build needs not
STRUCTURES = """
import ase.io, numpy as np
from ase.build import molecule
random, frames = np.random.default_rng(0), []
for name in ("CH3OH", "H2O", "CH3CH2OH", "C2H6", "NH3") * 4:
    frames.append(molecule(name))
    frames[-1].positions += random.normal(scale=0.05, size=frames[-1].positions.shape)
ase.io.write("molecules.extxyz", frames)
"""
MEASURE = ["measure", "--calculator", "ase.calculators.emt:EMT", "--structures", "molecules.extxyz"]


def offered(report: dict) -> tuple[str, list[str]]:
    """Version of torch in a report of pip on what it would install, and the packages for graphics cards.

    Examples
    --------
    >>> names = [("torch", "2.13.0"), ("numpy", "2.3"), ("nvidia-cublas", "13.1")]
    >>> offered({"install": [{"metadata": {"name": n, "version": v}} for n, v in names]})
    ('2.13.0', ['nvidia-cublas'])
    """
    found = {one["metadata"]["name"].lower(): one["metadata"]["version"] for one in report["install"]}
    return found["torch"], sorted(name for name in found if name.startswith(GRAPHICS_CARDS))


def run(command: list, **more) -> subprocess.CompletedProcess:
    """Its output as text; CalledProcessError with the last lines of stderr shown where it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        done.check_returncode()
    return done


def build_of(pip: list) -> tuple[str, list[str]]:
    """As ``offered``, asked of pip for its interpreter."""
    asked = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", "torch"]
    return offered(json.loads(run([*pip, *asked]).stdout))


def tried(python: str, folder: Path, any_build: bool) -> tuple[bool, str]:
    """Whether nothing speaks against this interpreter, and a line on it."""
    run([python, "-m", "venv", folder / "environment"])
    programs = folder / "environment/bin"
    pip = [programs / "python", "-m", "pip"]
    version = run([programs / "python", "-c", "import platform; print(platform.python_version())"]).stdout
    torch, cards = build_of(pip)
    if cards and not any_build:
        what = f"torch {torch} needs {len(cards)} packages for graphics cards ({', '.join(cards[:2])}, …)"
        return True, f"Python {version.strip()}: not tried, no CPU build of torch is offered: {what}"
    run([*pip, "install", "--quiet", f"torch=={torch}", f"{ROOT}[calculators]"])
    run([programs / "python", "-c", STRUCTURES], cwd=folder)
    started = time.monotonic()
    done = run([programs / "equidyn", *MEASURE, "--out", "out"], cwd=folder)
    seconds = time.monotonic() - started
    summary = json.loads((folder / "out/summary.json").read_text())
    verdicts = {row["quantity"]: row["verdict"] for row in summary["rows"]}
    versions = ", ".join(f"{name} {value}" for name, value in summary["versions"].items())
    good = all(verdict.startswith("exact") for verdict in verdicts.values())
    print(done.stdout)
    return good, f"{versions}: {verdicts}, {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", required=True, help="an interpreter; may be repeated")
    parser.add_argument("--any-build", action="store_true", help="also a torch that wants CUDA packages")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    args = parser.parse_args()
    good, lines = True, []
    for python in args.python:
        folder = Path(tempfile.mkdtemp(prefix="equidyn-python-"))
        try:
            fine, line = tried(python, folder, args.any_build)
        except (subprocess.CalledProcessError, OSError) as error:
            fine, line = False, f"{python}: failed, {error}"
        finally:
            if not args.keep:
                shutil.rmtree(folder, ignore_errors=True)
        good, lines = good and fine, [*lines, f"{time.strftime('%Y-%m-%d')} {line}"]
        print(lines[-1], flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
