"""Fuzz every reader of files: whatever the bytes, the outcome is items, rejections with a reason, or the
documented error; in bounded time and memory.

    pip install atheris        # coverage-guided; not a requirement of the project
    python benchmarks/fuzz.py --seconds 60 --real path/to/real/files
    python benchmarks/fuzz.py --plain --seconds 20      # seeded mutations, no coverage, no atheris
    python benchmarks/fuzz.py --plain --seconds 1 --inputs 300      # the same ones everywhere but on very
        slow machines: what tests/test_benchmarks.py runs

The property: nothing but ``DataError`` (``ConfigError`` for a config) comes out, no input takes longer than
``--limit`` seconds or more than ``--memory`` MB. A target runs in a process of its own, so that a crash of a
C extension (HDF5, RDKit, gemmi, tblite) is counted and its input saved; the target then goes on in a new
process. Every finding is saved in ``--out``; ``--replay FILE --targets NAME`` tries one again. Coverage is
that of Python code: the C extensions are those of the wheels, which are not instrumented.

SPICE's HDF5 files, damaged ones of which the HDF5 library may not survive, are read in workers with limits of
their own. What ends this process, or holds it up, is therefore tried once more as a conversion does it:
"confined" counts the inputs that end in the documented error there. Dataset files of our own never get so
far: their digest is compared first; files of any content with a digest that is right are a form of their own,
written from JSON.

An input is a byte that chooses the form (plain, compressed, in an archive) and the content, which is packed
after it was mutated: a mutated archive ends at its first checksum. The archives' own bytes are mutated in
forms of their own. Of GEOM's pickles only the reader of the pickle is tried: RDKit's reader of its binary
form is not safe against crafted bytes and runs in workers alone.
"""

import argparse
import faulthandler
import hashlib
import importlib
import json
import os
import pkgutil
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))  # for what lies beside this file

from benchmarks.fuzz_targets import Target, corpus, targets  # noqa: E402

# Instrumented beside equidyn where atheris is there: what reads for it in Python.
INSTRUMENTED = ["equidyn", "ase.io", "pickletools", "tarfile", "numpy.lib", "yaml"]
PACKAGES = ("data", "download", "guards")  # of equidyn, whose modules are imported under instrumentation


# One process per target.

WORDS = b"0 -1 1 99 999 65536 4294967295 1e400 nan inf ' \" [ { ( : ,".split()
WORDS += [b"\n", b" ", b"\t", b"\0", b"\xff", b"$$$$\n"]


def mutated(rng: random.Random, pool: list[bytes]) -> bytes:
    """A few random changes of an input: bits, bytes, words, and pieces of it and of another."""
    data = bytearray(
        *rng.choices(pool, [1 / (1000 + len(content)) for content in pool])
    )  # small ones are read sooner
    for _ in range(1 << rng.randrange(5)):
        at, kind = rng.randrange(len(data) + 1), rng.randrange(8)
        length = min(1 << rng.randrange(8), len(data) - at)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = rng.choice(WORDS)
        elif kind == 4:
            data[at : at + rng.randrange(4)] = rng.choice(WORDS)
        elif kind == 5:
            data[at:at] = data[at : at + length] * rng.choice((1, 1, 2, 8))
        elif kind == 6:
            other = rng.choice(pool)
            start = rng.randrange(len(other) + 1)
            data[at : at + length] = other[start : start + length]
        elif kind == 7 and rng.random() < 0.1:
            del data[at:]
    return bytes(data)


class Trial:
    """Tries inputs, keeps count, and saves what must not happen."""

    def __init__(
        self,
        name: str,
        folder: Path,
        out: Path,
        seconds: float,
        limit: float,
        memory: float,
        inputs: float = float("inf"),
    ):
        from equidyn.errors import ConfigError, DataError

        self.name, self.target, self.documented = name, targets()[name], (DataError, ConfigError)
        self.folder, self.out, self.limit, self.memory = folder, out, limit, memory
        self.end, self.written, self.left = time.monotonic() + seconds, 0.0, inputs
        self.counts = {
            "tried": 0,
            "accepted": 0,
            "rejected": 0,
            "refused": 0,
            "slowest": 0.0,
            "start": _peak(),
            "peak": _peak(),
            "findings": [],
        }

    def __call__(self, data: bytes) -> None:
        if time.monotonic() > self.end or self.left <= 0:
            self.write()
            os._exit(0)
        if not data:
            return
        self.left -= 1
        name, pack = self.target.forms[data[0] % len(self.target.forms)]
        path = self.folder / name
        content = pack(data[1:])
        path.write_bytes(content)
        (self.folder / "input").write_bytes(data)
        self.counts["tried"] += 1
        faulthandler.dump_traceback_later(self.limit, exit=True)
        start = time.perf_counter()
        try:
            self.counts["accepted" if self.target.read(path) else "rejected"] += 1
        except self.documented:
            self.counts["refused"] += 1
        except Exception as error:
            self.found(error, data)
        faulthandler.cancel_dump_traceback_later()
        self.counts["slowest"] = max(self.counts["slowest"], time.perf_counter() - start)
        self.counts["peak"] = _peak()
        if self.counts["peak"] > self.memory:
            print(f"memory: {self.counts['peak']:.0f} MB", file=sys.stderr)
            self.write()
            os._exit(3)
        if time.monotonic() > self.written + 0.5:
            self.write()

    def found(self, error: Exception, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [
            frame for frame in frames if "equidyn" in frame.filename and "fuzz.py" not in frame.filename
        ] or frames
        where = f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].lineno}"
        if where not in self.counts["findings"]:
            self.counts["findings"].append(where)
            (self.out / f"{_plain(self.name)}-{_plain(where)}").write_bytes(data)
            print("".join(traceback.format_exception(error)[-6:]), file=sys.stderr, flush=True)

    def write(self) -> None:
        self.written = time.monotonic()
        temporary = self.folder / "counts.part"
        temporary.write_text(json.dumps(self.counts))
        os.replace(temporary, self.folder / "counts.json")


def _peak() -> float:
    """Largest resident size of this program in MB; getrusage's, where there is no /proc, may be that of the
    parent.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in text)


def worker(args, name: str) -> None:
    """Fuzz one target until its time is over; never returns."""
    warnings.simplefilter("ignore")
    if not args.plain:
        import atheris

        with atheris.instrument_imports(include=INSTRUMENTED):
            for package in PACKAGES:
                found = importlib.import_module(f"equidyn.{package}")
                for module in pkgutil.walk_packages(found.__path__, f"{found.__name__}."):
                    importlib.import_module(module.name)
            for module in ("equidyn.config", "ase.io.extxyz", "ase.io.xyz", "yaml"):
                importlib.import_module(module)
    from rdkit import RDLogger

    RDLogger.DisableLog("rdApp.*")
    trial = Trial(name, args.folder, args.out, float("inf"), args.limit, args.memory)
    pool = corpus(trial.target, args.real)
    for data in pool:
        trial(data)  # also what is imported late, before memory is measured
    trial.counts["start"] = _peak()
    resource.setrlimit(resource.RLIMIT_AS, (int(args.memory * 4) << 20,) * 2)
    trial.end, trial.left = time.monotonic() + args.seconds, args.inputs
    if args.plain:
        rng = random.Random(f"{name} {args.seed}")
        while True:
            trial(mutated(rng, pool))
    seeds = args.folder / "corpus"
    seeds.mkdir(exist_ok=True)
    for data in pool:
        (seeds / hashlib.sha256(data).hexdigest()).write_bytes(data)
    longest = max(map(len, pool)) + 4096
    flags = [
        f"-max_len={longest}",
        f"-seed={args.seed + 1}",
        "-rss_limit_mb=0",
        "-timeout=100000",
        "-print_final_stats=0",
        f"-artifact_prefix={args.folder}/",
    ]
    atheris.Setup([sys.argv[0], *flags, str(seeds)], trial)
    atheris.Fuzz()


def fuzz(args, name: str) -> dict:
    """Counts of one target; its process is started again after a crash, a hang or too much memory."""
    total = {
        "tried": 0,
        "accepted": 0,
        "rejected": 0,
        "refused": 0,
        "confined": 0,
        "slowest": 0.0,
        "start": 0.0,
        "peak": 0.0,
        "findings": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        left, again = args.seconds, 0
        while (left > 1 or not again) and again < 20:
            begun = time.monotonic()
            counts_file = Path(folder, "counts.json")
            counts_file.unlink(missing_ok=True)
            command = [
                sys.executable,
                __file__,
                "--worker",
                name,
                "--folder",
                folder,
                "--out",
                args.out,
                "--seconds",
                str(left),
                "--seed",
                str(args.seed + again),
            ]
            command += [
                "--limit",
                str(args.limit),
                "--memory",
                str(args.memory),
                "--inputs",
                str(args.inputs),
            ]
            command += [
                *(["--plain"] if args.plain else []),
                *(["--real", str(args.real)] if args.real else []),
            ]
            log = args.out / f"{_plain(name)}.log"
            with open(log, "a") as file:
                status = subprocess.run(
                    command,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"},
                ).returncode
            counts = json.loads(counts_file.read_text()) if counts_file.exists() else {}
            for key, value in counts.items():
                total[key] = (
                    max(total[key], value)
                    if key in ("slowest", "start", "peak")
                    else total[key] + [v for v in value if v not in total[key]]
                    if key == "findings"
                    else total[key] + value
                )
            if status == 0:
                break
            again += 1
            left -= time.monotonic() - begun
            kind = (
                {1: f"hang of more than {args.limit:g} s", 3: "memory"}.get(
                    status, f"crash with status {status}"
                )
                if Path(folder, "input").exists()
                else "did not start"
            )
            tail = log.read_text(errors="replace")[-20_000:]
            kind = "error of the trial itself" if status == 1 and "Timeout (" not in tail else kind
            saved = args.out / f"{_plain(name)}-{_plain(kind)}-{again}"
            if Path(folder, "input").exists():
                saved.write_bytes(Path(folder, "input").read_bytes())
                if targets()[name].confined and _survived(args, name, saved):
                    total["confined"] += 1
                    continue
            total["findings"].append(f"{kind} ({saved.name})")
            if kind in ("did not start", "error of the trial itself"):
                break
    return total


def _survived(args, name: str, saved: Path) -> bool:
    """Whether an input that ended the target's process ends in items or the documented error where a
    conversion reads it.
    """
    command = [
        sys.executable,
        __file__,
        "--replay",
        str(saved),
        "--targets",
        name,
        "--limit",
        str(args.limit),
        "--out",
        str(args.out),
    ]
    try:
        return (
            subprocess.run(
                command,
                capture_output=True,
                env={**os.environ, "TQDM_DISABLE": "1"},
                timeout=10 * args.limit + 60,
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def replay(args, target: Target) -> None:
    """Try one saved input as a conversion would."""
    from equidyn.errors import ConfigError, DataError
    from equidyn.guards import workers

    data, workers.CPU_SECONDS = args.replay.read_bytes(), int(args.limit)
    with tempfile.TemporaryDirectory() as folder:
        name, pack = target.forms[data[0] % len(target.forms)]
        Path(folder, name).write_bytes(pack(data[1:]))
        faulthandler.enable()
        try:
            print((target.confined or target.read)(Path(folder, name)), "items or rejections")
        except (DataError, ConfigError) as error:
            print(f"refused: {error}")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="+", default=None, help="names, all by default")
    parser.add_argument("--seconds", type=float, default=60, help="per target")
    parser.add_argument(
        "--inputs",
        type=float,
        default=float("inf"),
        help="at most so many per target, beside the corpus; all by default",
    )
    parser.add_argument("--limit", type=float, default=20, help="seconds that an input may take")
    parser.add_argument("--memory", type=float, default=1024, help="MB of a target's process")
    parser.add_argument(
        "--real",
        type=Path,
        default=None,
        help="folder with forces/, molecules/, proteins/, smiles/: real files for the corpus",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("fuzz"), help="folder for logs and the inputs of findings"
    )
    parser.add_argument("--plain", action="store_true", help="seeded mutations, without atheris")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replay", type=Path, default=None, help="try one saved input as a conversion would")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    args.out.mkdir(parents=True, exist_ok=True)
    return args


def main() -> None:
    args = arguments()
    if args.worker:
        worker(args, args.worker)
    found = targets()
    if args.replay:
        return replay(args, found[args.targets[0]])
    print(
        f"{'target':<14} {'inputs':>9} {'accepted':>9} {'rejected':>9} {'refused':>9} {'confined':>9} "
        f"{'slowest s':>9} {'peak MB':>8} {'at start':>8}  findings",
        flush=True,
    )
    bad = 0
    for name in args.targets or found:
        row = fuzz(args, name)
        bad += len(row["findings"])
        numbers = " ".join(
            f"{row[key]:>9}" for key in ("tried", "accepted", "rejected", "refused", "confined")
        )
        numbers += f" {row['slowest']:>9.2f} {row['peak']:>8.0f} {row['start']:>8.0f}"
        print(f"{name:<14} {numbers}  {'; '.join(row['findings']) or 'none'}", flush=True)
    print(
        "\naccepted: some items; rejected: none, every record with its reason; refused: the documented error"
    )
    print(
        "confined: ended this process or held it up, but not a conversion, "
        "which reads it in workers with limits"
    )
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
