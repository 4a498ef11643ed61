"""Speed and peak memory of the conversion of a generated extended XYZ file, for a number of workers.

    python benchmarks/convert.py --gigabytes 2 --workers 1 2

Frames of four molecules of 22 to 25 atoms with GFN2-xTB labels are repeated in random order until the file is large enough. Prints, per number of workers,
items/s and the peak resident memory of the parent and of the largest worker.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from equidyn.data import conformers

SMILES = ("CC(=O)Nc1ccc(O)cc1C", "COc1ccccc1CCN", "CC(C)Cc1ccccc1O", "O=C(O)CCc1ccccc1F")


def generate(path: Path, size: int, labelled: int = 200, varied: int = 4000) -> None:
    """At least ``size`` bytes of frames: ``varied`` distinct ones, from ``labelled`` geometries with displaced digits, again and again in random order."""
    rng, frames, texts = np.random.default_rng(0), [], []
    for i in range(labelled):
        numbers, positions = conformers.displaced(SMILES[i % len(SMILES)], 200, i)
        frames.append((numbers, positions, *conformers.label(numbers, positions)))
    symbols = {number: symbol for symbol, number in conformers.ELEMENTS.items()}
    for i in range(varied):
        numbers, positions, energy, forces = frames[i % labelled]
        table = np.hstack([positions + 1e-4 * rng.normal(size=positions.shape), forces])
        rows = "\n".join(f"{symbols[z]} " + " ".join(f"{value:14.8f}" for value in row) for z, row in zip(numbers.tolist(), table.tolist()))
        texts.append(f'{len(numbers)}\nProperties=species:S:1:pos:R:3:forces:R:3 energy={energy!r} pbc="F F F"\n{rows}\n')
    with open(path, "w") as file:
        while file.tell() < size:
            file.write("".join(texts[i] for i in rng.permutation(varied)))


MEASURED = """
import json, resource, sys, time
from equidyn.data.build import build
if __name__ == "__main__":
    settings = dict(source="extxyz", files=[sys.argv[1]], energy_unit="eV", licence="generated", n_held_out=1, seed=0)
    start = time.perf_counter()
    counts = build(settings, sys.argv[2], workers=int(sys.argv[3]))
    seconds = time.perf_counter() - start
    usage = {name: resource.getrusage(who) for name, who in (("parent", resource.RUSAGE_SELF), ("worker", resource.RUSAGE_CHILDREN))}
    peak = {name: use.ru_maxrss / 1024 for name, use in usage.items()}  # ru_maxrss: KiB on Linux
    print(json.dumps({"items": counts["items"], "seconds": seconds, "cpu": sum(use.ru_utime + use.ru_stime for use in usage.values()), **peak}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the generated file")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", type=Path, default=None, help="where the file is generated; it is deleted at the end")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path, script = Path(folder, "generated.xyz"), Path(folder, "measured.py")
        script.write_text(MEASURED)
        start = time.perf_counter()
        generate(path, int(args.gigabytes * 1e9))
        print(f"{path.stat().st_size / 1e9:.2f} GB generated in {time.perf_counter() - start:.0f} s", flush=True)
        for workers in args.workers:
            out = Path(folder, f"{workers}.h5")
            done = subprocess.run([sys.executable, script, path, out, str(workers)], env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            size = out.stat().st_size / 1e9
            worker = f"largest worker {found['worker']:.0f} MB" if workers > 1 else "no worker process"
            print(
                f"workers {workers}: {found['items']} items in {found['seconds']:.0f} s, {found['items'] / found['seconds']:.0f} items/s, "
                f"{found['items'] / found['cpu']:.0f} per CPU second; "
                f"peak memory: parent {found['parent']:.0f} MB, {worker}; {size:.2f} GB of HDF5",
                flush=True,
            )
            out.unlink()


if __name__ == "__main__":
    main()
