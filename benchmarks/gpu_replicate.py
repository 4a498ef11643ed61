"""The paper's runs on one GPU: EScAIP 6M on 50,000 structures, VoxMol 7M at 64³ and Proteina 60M for what the
time allows, and their decomposition.

    make gpu-data           # before, on a CPU: the data files
    make gpu-replicate      # on a machine with a GPU
    python benchmarks/gpu_replicate.py --data results/gpu-data/data --out docs/results/gpu
        --tasks voxels    # all the time for one task
    python benchmarks/gpu_replicate.py --data DATA --out OUT --device cpu --tiny
        # the same code, small

Needs torch, numpy, scipy, h5py, matplotlib and this package alone. How --seconds are split: tasks in turn,
each times some steps and one measurement first; it gets an equal share of what is left, forces more if 10,000
steps need it. At most half of a share goes into measuring (fewer checkpoints, at least 3), the rest into as
many steps as fit, never more than published. Settings are the published ones where they are public; training
uses TF32, measuring is float32 without it.

Killed, the same command goes on: plan, training (see ``equidyn.training.loop``) and measured checkpoints are
kept in --work and belong to one state of settings, data, code, torch and device. A finished task is not run
again, only drawn; delete its folder in --work to repeat it.
"""

import argparse
import copy
import csv
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

from equidyn import tasks
from equidyn.declarations import own_models, own_tasks
from equidyn.device import tf32
from equidyn.errors import DataError, EquidynError
from equidyn.figures import style
from equidyn.figures.style import plt
from equidyn.files import atomic_write
from equidyn.models import registry
from equidyn.provenance import code_digest, commit
from equidyn.results import tables
from equidyn.results.columns import DECOMPOSITION
from equidyn.steps.measurement import Measurement, Plan, about_training
from equidyn.training import checkpoint, loop, optimizers

REPOSITORY = Path(__file__).resolve().parents[1]
LEAST = {"forces": 10_000, "forces-aligned": 10_000}  # steps that a task should reach
FEWEST = 10  # steps: with less it is not worth a row
BEST = {
    "n_checkpoints": 25,
    "measuring": 0.5,
    "margin": 0.95,
}  # at most so many checkpoints, share of the time for them; of the rest so much is planned
FILES = {
    "forces": ["conformers.h5"],
    "forces-aligned": ["conformers-aligned.h5"],
    "voxels": ["voxels.h5", "voxels/grids.h5"],
    "flow": ["backbones.h5"],
}
COMMON = dict(optimizer="adamw", final_lr_fraction=1.0, ema=0.999, log_every=20)
# As the runs of config/gpu-data.yaml. Steps: those published, at most; forces: 30 epochs of the whole of
# SPICE.
RUNS = {
    "forces": dict(
        task="forces",
        run="forces",
        steps=450_000,
        model=dict(architecture="escaip", size="6M", options=dict(dropout=0.05)),
        # published: warm-up from 0.2 x lr, then a cosine to half of it at the last step, 0.06 % lower after
        # 10,000 steps
        training=dict(
            **COMMON,
            lr=1e-5,
            weight_decay=0.01,
            warmup=1485,
            batch_size=64,
            clip=10.0,
            loss="l2",
            energy_weight=4.0,
            force_weight=100.0,
            augment=0.0,
            n_train=50_000,
        ),
        measure=dict(n_items=128, n_rotations=10, batch_size=64),
    ),
    "voxels": dict(
        task="voxels",
        run="voxels-0.9",
        steps=160_000,
        model=dict(architecture="voxmol", size="7M"),
        training=dict(
            **COMMON,
            lr=2e-5,
            betas=[0.99, 0.999],
            eps=0.0,
            weight_decay=0.01,
            warmup=1,
            batch_size=64,
            clip=1e9,
            sigma=0.9,
            augment=1.0,
            shift=0.5,
            sampler="euler",
            autocast="none",
        ),
        measure=dict(n_items=64, n_rotations=4, batch_size=16),
    ),
    "flow": dict(
        task="flow",
        run="flow",
        steps=1_100_000,
        model=dict(architecture="proteina", size="60M"),
        training=dict(
            **COMMON,
            lr=1e-4,
            weight_decay=0.0,
            warmup=1,
            batch_size=4,
            clip=1.0,
            augment=1.0,
            self_conditioning=0.5,
        ),
        measure=dict(
            n_items=64,
            n_rotations=10,
            batch_size=16,
            times=[0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99],
            self_conditioning_times=[],
        ),
    ),
}
RUNS["forces-aligned"] = {**RUNS["forces"], "run": "forces-aligned"}  # the same structures as they were made


def settings_of(name: str, tiny: bool) -> dict:
    """Settings of a task's run; tiny ones try the code and say nothing about the models."""
    settings = copy.deepcopy(RUNS[name]) | dict(seed=0)
    if tiny:
        settings["model"] = dict(architecture=settings["model"]["architecture"], size="tiny")
        settings["training"] |= dict(batch_size=4, lr=1e-3, warmup=2, log_every=1)
        settings["training"].pop("n_train", None)
        settings["measure"] |= dict(n_items=4, n_rotations=3, batch_size=4)
    return settings


def write_json(path: Path, content) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict:
    """What the file holds; nothing if there is none."""
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}), expected what this script writes; delete it") from error


def hardware(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()


class Replica:
    """One task's run: plan, train, measure. All it keeps is in the folder ``work``."""

    def __init__(self, name: str, data: Path, work: Path, device: str, tiny: bool, steps: int | None):
        self.name, self.work, self.device, self.tiny, self.steps = name, work / name, device, tiny, steps
        self.settings = settings_of(name, tiny)
        files = [data / file for file in FILES[name]]
        grids = files[1] if len(files) > 1 else None
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        self.task = tasks.build(self.settings["task"], files[0], self.settings, device, grids)
        named = self.settings["model"]
        self.model = registry.build_named(named, self.settings["seed"]).to(device)
        modules = own_tasks()[self.task.name].module, own_models()[named["architecture"]].module
        code = code_digest(loop.__file__, *modules)
        about = [self.settings, digests, code, torch.__version__, hardware(device), steps]
        self.identity = json.dumps(about, sort_keys=True)
        self.digests = digests
        n_rotations = self.settings["measure"]["n_rotations"]
        self.measurement = Measurement(
            self.settings["run"],
            self.task,
            self.model,
            n_rotations,
            self._now,
            about_training(self.settings, files[0]),
        )

    def plan(self, remaining: float, n_left: int) -> dict:
        """The plan kept from before, or a new one for at most ``remaining`` seconds, of which n_left tasks
        want a share.

        step_seconds, measure_seconds : timed; share : seconds; steps (0: not worth it), n_checkpoints;
            peak_memory_gib of both, None on a CPU
        """
        kept = read_json(self.work / "plan.json")
        if kept.get("identity") == self.identity:
            return kept
        if kept:
            print(f"{self.work}: of other settings, data, code, torch or device: discarded", flush=True)
        shutil.rmtree(self.work, ignore_errors=True)
        started = time.monotonic()
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        step_seconds, measure_seconds = self._time_steps(3 if self.tiny else 20), self._time_measuring()
        remaining = max(0.0, remaining - (time.monotonic() - started))
        needed = (
            LEAST.get(self.name, 0) * step_seconds / BEST["margin"]
            + (BEST["n_checkpoints"] + 1) * measure_seconds
        )
        share = min(remaining, max(remaining / n_left, needed))
        n_checkpoints = max(3, min(BEST["n_checkpoints"], int(BEST["measuring"] * share / measure_seconds)))
        fit = max(0, int(BEST["margin"] * (share - (n_checkpoints + 1) * measure_seconds) / step_seconds))
        plan = dict(
            identity=self.identity,
            step_seconds=step_seconds,
            measure_seconds=measure_seconds,
            share=share,
            fit=fit,
            steps=self.steps or min(fit, self.settings["steps"]),
            n_checkpoints=n_checkpoints,
            peak_memory_gib=self._peak(),
        )
        if plan["steps"] >= FEWEST:  # else another call, with more time, plans anew
            write_json(self.work / "plan.json", plan)
        return plan

    def _time_steps(self, n: int) -> float:
        """Mean seconds of n training steps after three, on a copy of the model."""
        model, training = copy.deepcopy(self.model).train(), self.settings["training"]
        optimizer, lengths = optimizers.optimizer_for(model, training), getattr(self.task, "lengths", None)
        with tf32(True):
            for step in range(n + 3):
                if step == 3:
                    started = self._now()
                loss, _ = self.task.training_loss(
                    model, loop.batch_items(step, self.task.n_train, training["batch_size"], 0, lengths), step
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), training["clip"]).item()
                optimizer.step()
            return (self._now() - started) / n

    def _time_measuring(self) -> float:
        """Seconds of a checkpoint, from its first condition, live weights alone."""
        state = {"step": 0, "live": copy.deepcopy(self.model.state_dict())}
        plan = [Plan("live", self.measurement.main, self.task.conditions[:1])]
        self._rows(state, plan)  # warm-up, and what is made once
        started = self._now()
        self._rows(state, plan)
        n_plans = len(self.measurement.plans(last=False))
        return (self._now() - started) * len(self.task.conditions) * n_plans

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()

    def _peak(self) -> float | None:
        return torch.cuda.max_memory_allocated() / 2**30 if self.device == "cuda" else None

    def train(self, plan: dict) -> dict:
        """Train, or go on, to the plan's last step; the loop's summary."""
        if not (self.work / "summary.json").is_file():
            training = {
                **self.settings["training"],
                "steps": plan["steps"],
                "n_checkpoints": plan["n_checkpoints"],
            }
            with tf32(True):
                loop.train(
                    self.model,
                    self.task,
                    training,
                    self.work,
                    json.dumps(plan, sort_keys=True),
                    self.settings["seed"],
                    resume_every=60.0,
                )
        return read_json(self.work / "summary.json")

    def measure(self) -> list[dict]:
        """Rows of all checkpoints, by the plans of the workflow's own runs.

        Each checkpoint's are kept when they are there.
        """
        paths, rows = sorted((self.work / "checkpoints").glob("step_*.pt")), []
        for path in paths:
            kept = self.work / "rows" / f"{path.stem}.json"
            if not kept.is_file():
                plans = self.measurement.plans(path == paths[-1])
                write_json(kept, {"rows": self._rows(checkpoint.load(path), plans)})
                print(f"{self.name}: measured {path.stem}", flush=True)
            rows += read_json(kept)["rows"]
        return rows

    @tf32(False)
    def _rows(self, saved: dict, plans: list[Plan]) -> list[dict]:
        self.model.eval()
        return [row for plan in plans for row in self.measurement.rows(saved, plan)]


def read_paper(path: Path) -> list[dict]:
    """Rows of resources/paper_train50k.csv: step, ratio_percent, published_percent."""
    with open(path, newline="") as file:
        return [
            {k: float(v) for k, v in row.items()}
            for row in csv.DictReader(line for line in file if not line.startswith("#"))
        ]


def draw(name: str, rows: list[dict], size: str):
    """Percent of held-out loss from equivariance error against step, over the paper's curve or points of the
    same model, log-log.
    """
    run = rows[0]["run"]
    figure, axis = plt.subplots(figsize=(4.6, 3.4))
    conditions, own = tables.conditions(rows, run), style.colour(run)
    colours = [own] if len(conditions) == 1 else style.sequence(len(conditions))
    if rows[0]["task"] == "forces":
        paper = read_paper(REPOSITORY / "resources/paper_train50k.csv")
        x = [r["step"] for r in paper]
        axis.plot(
            x,
            [r["ratio_percent"] for r in paper],
            "-",
            color="0.2",
            label="paper, EScAIP 6M, 50k of SPICE: ratio of means",
        )
        axis.plot(
            x,
            [r["published_percent"] for r in paper],
            "--",
            color="0.5",
            lw=1,
            label="the same, published convention",
        )
    else:
        paper = [
            r
            for r in tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
            if r["quantity"] == "percent_published"
        ]
        label = {
            "voxels": "paper, VoxMol 7M on GEOM-drugs",
            "flow": "paper, 60M on PDB (steps: rows of its log)",
        }[name]
        for condition, colour in zip(conditions, ["0.3"] if name == "voxels" else colours):
            points = [
                r
                for r in paper
                if r["run"] == ("model-7M" if name == "voxels" else f"default-rep2 {condition}")
            ]
            axis.plot(
                [r["step"] for r in points],
                [r["percent"] for r in points],
                "D",
                ms=3,
                mfc="none",
                mec=colour,
                mew=0.7,
                label=label if condition == conditions[0] else None,
            )
    names = {"forces": f"EScAIP {size}, ours: ratio of means, 95 %", "voxels": f"VoxMol {size}, ours, 95 %"}
    for condition, colour in zip(conditions, colours):
        curve = tables.curve(rows, run, condition=condition)
        x = style.steps(curve)
        axis.plot(
            x,
            [r["percent"] for r in curve],
            "o-",
            ms=3,
            color=colour,
            label=condition or names[rows[0]["task"]],
        )
        axis.fill_between(
            x,
            [max(r["percent_lo"], 1e-3) for r in curve],
            [max(r["percent_hi"], 1e-3) for r in curve],
            color=colour,
            alpha=0.2,
            lw=0,
        )
    if len(conditions) == 1:
        averaged = tables.curve(rows, run, weights="ema")
        axis.plot(
            style.steps(averaged), [r["percent"] for r in averaged], "--", color=own, label="EMA weights"
        )
        style.at_zero_level(axis, curve)
        axis.set_title("shaded: our total loss at or above the zero predictor", fontsize=7, color="0.35")
    else:
        axis.set_title(f"Proteina {size}, ours, one line per flow time, 95 %", fontsize=7, color="0.35")
    axis.axhline(2, color="0.5", lw=0.8, ls=":")
    axis.text(0.01, 2.1, "2 %", color="0.4", va="bottom", transform=axis.get_yaxis_transform())
    style.log_step(axis)
    axis.set_yscale("log")
    axis.set_xlim(left=0.4)
    axis.set_ylabel("equivariance error, % of held-out loss")
    axis.legend(
        fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=1 if len(conditions) == 1 else 3
    )
    return figure


def save_figure(figure, stem: Path) -> None:
    """SVG, PNG and PDF, each whole or as it was."""
    for leftover in stem.parent.glob(".figure.*"):  # of a killed call
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=".figure.", dir=stem.parent) as folder:
        style.save(figure, str(Path(folder) / stem.name))
        for path in Path(folder).iterdir():
            os.replace(path, stem.parent / path.name)


def record(replica: Replica, plan: dict, summary: dict, rows: list[dict], seconds: float) -> dict:
    """What replicate.json says of a task that was run."""
    training = {
        **replica.settings["training"],
        "steps": plan["steps"],
        "n_checkpoints": plan["n_checkpoints"],
    }
    return dict(
        date=date.today().isoformat(),
        hardware=hardware(replica.device),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        commit=commit(),
        tiny=replica.tiny,
        data=replica.digests,
        model=replica.settings["model"],
        training=training,
        measure=replica.settings["measure"],
        precision="training TF32, measuring float32 without TF32",
        parameters=summary["parameters"],
        n_train=summary["n_train"],
        steps_run=summary["steps"],
        steps_wanted=LEAST.get(replica.name),
        steps_published=replica.settings["steps"],
        steps_per_second=summary["steps_per_second"],
        steps_per_second_timed=1 / plan["step_seconds"],
        training_seconds=summary["seconds"],
        steps_that_fit=plan["fit"],
        share_seconds=plan["share"],
        measuring_seconds=sum(r["seconds"] for r in rows if r["loss"] == "mse"),
        seconds_of_this_call=seconds,
        peak_memory_gib=plan["peak_memory_gib"],
    )


def line(name: str, r: dict, rows: list[dict]) -> str:
    """A task's row of the printed table; percentages of the first condition with the least and the last
    value.
    """
    curve = tables.curve(rows, rows[0]["run"], condition=rows[0]["condition"])
    lowest, last = min(curve, key=lambda row: row["percent"]), curve[-1]
    steps = f"{r['steps_run']}"
    if r["steps_wanted"] and r["steps_run"] < r["steps_wanted"]:
        steps += f" of {r['steps_wanted']} wanted" + (
            ""
            if r["steps_that_fit"] >= r["steps_wanted"]
            else f" (no more fit in {r['share_seconds']:.0f} s)"
        )
    memory = "–" if r["peak_memory_gib"] is None else f"{r['peak_memory_gib']:.1f}"
    return (
        f"| {name} {rows[0]['condition']} | {r['parameters'] / 1e6:.2f}M | {steps} | "
        f"{r['steps_per_second']:.2f} | {memory} | {last['total'] / last['zero_loss']:.3g} | "
        f"{last['percent']:.3g} [{last['percent_lo']:.3g}, {last['percent_hi']:.3g}] | "
        f"{lowest['percent']:.3g} at {lowest['step']:.0f} |"
    )


def missing(args: argparse.Namespace) -> list[str]:
    """What is not there, in words."""
    words = []
    if args.device == "cuda" and not torch.cuda.is_available():
        words.append(f"no CUDA device (torch {torch.__version__}, CUDA of this build: {torch.version.cuda})")
    absent = [
        str(args.data / file)
        for name in args.tasks
        for file in FILES[name]
        if not (args.data / file).is_file()
    ]
    if absent:
        words.append(f"no {', '.join(absent)} (`make gpu-data` makes them)")
    return words


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the data files")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of tables, figures and replicate.json"
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="folder of checkpoints and of what a killed run resumes from (default: results/gpu-replicate; "
        "with --tiny results/gpu-replicate-tiny)",
    )
    parser.add_argument("--tasks", nargs="+", choices=list(RUNS), default=list(RUNS), help="in this order")
    parser.add_argument("--seconds", type=float, default=600, help="of this call, split over the tasks")
    parser.add_argument("--steps", type=int, help="of each task, whatever time they take")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="tiny models and few steps: tries the code, says nothing about the models",
    )
    args = parser.parse_args()
    if args.steps is not None and args.steps < FEWEST:
        parser.error(f"--steps {args.steps}, expected at least {FEWEST}")
    if words := missing(args):
        raise SystemExit(f"error: {'; '.join(words)}; nothing was run")
    work = args.work or Path("results") / ("gpu-replicate-tiny" if args.tiny else "gpu-replicate")
    steps = args.steps or (12 if args.tiny else None)
    args.out.mkdir(parents=True, exist_ok=True)
    started, lines = time.monotonic(), []
    for k, name in enumerate(args.tasks):
        begun = time.monotonic()
        replica = Replica(name, args.data, work, args.device, args.tiny, steps)
        plan = replica.plan(args.seconds - (time.monotonic() - started), len(args.tasks) - k)
        print(
            f"{name}: {plan['step_seconds']:.4f} s a step, {plan['measure_seconds']:.2f} s a measurement; "
            f"{plan['fit']} steps fit in {plan['share']:.0f} s",
            flush=True,
        )
        if plan["steps"] < FEWEST:
            lines.append(
                f"| {name} | not run: no time left for {FEWEST} steps; call with --tasks {name} | | | | | | |"
            )
            continue
        print(
            f"{name}: {plan['steps']} steps, {plan['n_checkpoints']} checkpoints, kept in {replica.work}",
            flush=True,
        )
        summary, rows = replica.train(plan), replica.measure()
        table = args.out / f"replicate-{name}.csv"
        tables.write_table(table, rows, list(DECOMPOSITION))
        rows = tables.read([table])
        save_figure(draw(name, rows, replica.settings["model"]["size"]), args.out / f"replicate-{name}")
        result = record(replica, plan, summary, rows, time.monotonic() - begun)
        write_json(args.out / "replicate.json", {**read_json(args.out / "replicate.json"), name: result})
        lines.append(line(name, result, rows))
        del replica
    print(
        f"\n{hardware(args.device)}, torch {torch.__version__}, {date.today().isoformat()}, "
        f"{time.monotonic() - started:.0f} s{', tiny models' if args.tiny else ''}"
    )
    print(
        "| task | parameters | steps | steps/s | peak GiB | last total / zero predictor | last "
        "equivariance error, % (95 %) | lowest % |\n|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    try:
        main()
    except EquidynError as error:
        raise SystemExit(f"error: {error}") from None
