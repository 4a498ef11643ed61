"""Runs of a config in the time that there is, on a machine without Snakemake: what `equidyn run` does.

The data files and the settings of the runs were made beforehand, by the workflow. Each run in turn gets an
equal share of what is left of the time: some steps and one measurement are timed, then as many steps and
checkpoints are planned as fit, never more than its settings say. Training and measuring are the functions
that the rules call; every checkpoint is measured when it is written, and the table is written again.

Killed, the same command goes on: plans, resume states and measured checkpoints are kept in the folder of
results and belong to one state of settings, data, code, torch and device.
"""

import contextlib
import copy
import hashlib
import importlib
import json
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import torch

from equidyn.data.grids import build as build_grids
from equidyn.declarations import own_models, own_tasks, task_of
from equidyn.defaults import EXECUTION
from equidyn.device import hardware, resolve_device
from equidyn.errors import ArgumentError, DataError, EquidynError
from equidyn.files import write_text
from equidyn.guards import content_digest
from equidyn.provenance import code_digest, commit
from equidyn.results import tables
from equidyn.results.claims.rows import percent_text
from equidyn.results.columns import DECOMPOSITION
from equidyn.steps import decompose, train
from equidyn.steps.measured import Measured
from equidyn.steps.measurement import Measurement, Plan
from equidyn.steps.run import Run, load, read_settings
from equidyn.training import checkpoint
from equidyn.training.execution import WARM
from equidyn.training.trainer import Trainer

FEWEST = 10  # steps: with less a run is not worth a row
LEAST_CHECKPOINTS = 3
MEASURING, MARGIN = 0.5, 0.95  # share of the time for checkpoints, at most; of the rest so much is planned
UNTIMED, TIMED = 5, 20  # steps
COLUMNS = (
    "run",
    "parameters",
    "steps",
    "steps/s",
    "peak GiB",
    "last total / zero predictor",
    "last equivariance error (95 %)",
    "lowest, %",
)
LATER = ("matplotlib", "equidyn.figures.published")  # modules that are needed at the end
KEEP_EVERY = 20.0  # seconds between resume states


@dataclass
class Planned:
    """What a run will do; seconds of a step and of a checkpoint were timed."""

    steps: int
    n_checkpoints: int
    step_seconds: float
    measure_seconds: float
    share_seconds: float


def run_in_time(
    results: Path,
    minutes: float,
    out: Path | None = None,
    runs: list[str] | None = None,
    steps: int | None = None,
    device: str | None = None,
) -> None:
    """Train and measure the runs of a folder of results, see the module, and print a table.

    Parameters
    ----------
    results : of a config, with ``runs/<run>/config.yaml`` and ``data/<dataset>.h5``
    out : folder of tables and figures; default: ``results / "timed"``. Checkpoints go to ``out / "work"``
    runs : names, in this order; default: all
    steps : of each run, whatever time they take
    device : in place of the settings'

    Raises
    ------
    ArgumentError, DataError
        no such run, no data, no time
    """
    started = time.monotonic()
    for module in LATER:  # before anything long
        importlib.import_module(module)
    if minutes <= 0 or (steps is not None and steps < FEWEST):
        raise ArgumentError(f"minutes {minutes}, steps {steps}, expected more than 0 and at least {FEWEST}")
    out = out or results / "timed"
    found = settings_of(results, runs)
    if device is not None:
        found = [{**settings, "device": device} for settings in found]
    missing = [f for settings in found for f in files_of(results, settings)[:1] if not f.is_file()]
    if missing:
        raise DataError(f"{', '.join(map(str, missing))}: not there, expected what `make gpu-data` makes")
    lines: list[str] = []
    failed: list[str] = []
    for k, settings in enumerate(found):
        left = 60 * minutes - (time.monotonic() - started)
        try:
            lines.append(_line(results, settings, out, left / (len(found) - k), steps))
        except (EquidynError, RuntimeError) as error:  # out of memory, say: the others go on
            failed.append(settings["run"])
            traceback.print_exc()
            lines.append(
                f"| {settings['run']} | failed: {' '.join(str(error).split())[:150]}"
                + " |" * (len(COLUMNS) - 1)
            )
        write_text(out / "summary.md", _summary(lines, time.monotonic() - started, found[0]["device"]))
    print(_summary(lines, time.monotonic() - started, found[0]["device"]), flush=True)
    if failed:
        raise DataError(f"{', '.join(failed)}: failed, see above; what the others have is in {out}")


def _line(results: Path, settings: dict, out: Path, share: float, steps: int | None) -> str:
    """Run one run in its share of the time; its line of the table."""
    timed = _Timed(results, settings, out)
    planned = timed.plan(share, steps)
    if planned is None:
        return f"| {settings['run']} | not run: no time for {FEWEST} steps" + " |" * (len(COLUMNS) - 1)
    return timed.run(planned)


def settings_of(results: Path, runs: list[str] | None) -> list[dict]:
    """Settings of some runs of a folder of results, or of all.

    Raises
    ------
    ArgumentError, DataError
        no such run, or none at all
    """
    there = sorted(path.parent.name for path in results.glob("runs/*/config.yaml"))
    if not there:
        raise DataError(f"{results}: no runs/*/config.yaml, expected what `make gpu-data` makes")
    if unknown := sorted(set(runs or []) - set(there)):
        raise ArgumentError(f"{results}: no runs {unknown}, expected some of {', '.join(there)}")
    return [read_settings(results / "runs" / name / "config.yaml") for name in runs or there]


def files_of(results: Path, settings: dict) -> list[Path]:
    """Dataset file of a run, and its held-out grids where its task has them."""
    data = results / "data"
    grids = [data / settings["dataset"] / "grids.h5"] if task_of(settings).grids else []
    return [data / f"{settings['dataset']}.h5", *grids]


def settled(trainer: Trainer, n: int = TIMED) -> None:
    """Take the n steps that are timed so often that nothing is recorded or compiled any more when they
    are.
    """
    times = 1 if trainer.settings.get("execution", EXECUTION) == EXECUTION else WARM + 1
    for _ in range(times):
        before = dict(getattr(trainer.passes, "seen", {}))
        with contextlib.closing(trainer.draws().of_steps(0, n)) as drawn:
            for step, parts in enumerate(drawn):
                trainer.advance(step, parts)
                if times == 1 and step + 1 == UNTIMED:
                    return
        if before and before == trainer.passes.seen:  # all of them were replayed
            return


def _cost_of_last(measurement: Measurement) -> float:
    """What measuring the last checkpoint costs, in units of any other."""
    last, other = (
        sum(len(plan.conditions) * len(plan.rotations.drawn) for plan in measurement.plans(is_last))
        for is_last in (True, False)
    )
    return last / other


def grids_made(data: Path, grids: Path | None = None) -> tuple[Path, Path | None]:
    """The files of a run; held-out grids are made where they are missing."""
    if grids is not None and not grids.is_file():
        build_grids(str(data), str(grids), "")
    return data, grids


class _Timed:
    """A run: planned, trained and measured in a folder of its own."""

    def __init__(self, results: Path, settings: dict, out: Path):
        self.name, self.settings, self.out = settings["run"], settings, out
        self.work = out / "work" / self.name
        self.data, self.grids = grids_made(*files_of(results, settings))
        own = [own_tasks().get(settings["task"]), own_models().get(settings["model"].get("architecture"))]
        modules = [one.module for one in own if one is not None]  # of others the settings have a digest
        self.code = code_digest(train.__file__, *modules, "equidyn.steps.decompose")
        self.threads = torch.get_num_threads()
        self.loaded: Run | None = load(settings, self.data, self.grids, self.threads)
        self.device = next(self.loaded.model.parameters()).device

    def plan(self, share: float, steps: int | None) -> Planned | None:
        """The plan kept from before, or one for at most ``share`` seconds; None where too few steps fit."""
        digest = content_digest.stored_digest(self.data)
        about = [self.settings, digest, self.code, torch.__version__, hardware(self.device), steps]
        identity = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        path = self.work / "plan.json"
        kept = _read(path)
        if kept.get("identity") == identity:
            planned = Planned(**kept["planned"])
            print(
                f"{self.name}: plan of before, {planned.steps} steps; delete {path} for another", flush=True
            )
            return planned
        if kept:
            print(f"{self.work}: of other settings, data, code, torch or device: discarded", flush=True)
        shutil.rmtree(self.work, ignore_errors=True)
        began, training = time.monotonic(), self.settings["training"]
        measurement = Measured(self.loaded, self.data, self.work / "timing").measurement
        measuring = self._time_measuring(measurement)  # what it refuses is found before anything is compiled
        step = self._time_steps()
        share = max(0.0, share - (time.monotonic() - began))
        n = max(LEAST_CHECKPOINTS, min(training["n_checkpoints"], int(MEASURING * share / measuring)))
        storing = self._time_storing()
        step += storing * step / KEEP_EVERY  # resume states, by the way
        fit = max(
            0, int(MARGIN * (share - (n - 1 + _cost_of_last(measurement)) * measuring - n * storing) / step)
        )
        planned = Planned(steps or min(fit, training["steps"]), n, step, measuring, share)
        print(
            f"{self.name}: {step:.4f} s a step, {measuring:.2f} s a checkpoint; {fit} steps fit in "
            f"{share:.0f} s, {planned.steps} planned with {n} checkpoints",
            flush=True,
        )
        if planned.steps < FEWEST:
            return None
        write_text(path, json.dumps(dict(identity=identity, planned=asdict(planned)), indent=2) + "\n")
        return planned

    def _time_steps(self) -> float:
        """Mean seconds of steps, on a copy of the model."""
        model = copy.deepcopy(self.loaded.model).train()
        trainer = Trainer(model, self.loaded.task, self.settings["training"], 0, self.name)
        settled(trainer)
        with contextlib.closing(trainer.draws().of_steps(0, TIMED)) as drawn:
            began = self._now()
            for step, parts in enumerate(drawn):
                trainer.advance(step, parts)
            return (self._now() - began) / TIMED

    def _time_measuring(self, measurement: Measurement) -> float:
        """Seconds of a checkpoint, from its first condition and live weights."""
        saved = {"step": 0, "live": copy.deepcopy(self.loaded.model.state_dict())}
        plan = Plan("live", measurement.main, self.loaded.task.conditions[:1])
        list(measurement.rows(saved, plan))  # warm-up, and what is made once
        began = self._now()
        list(measurement.rows(saved, plan))
        of_all = len(self.loaded.task.conditions) * len(measurement.plans(last=False))
        return max(1e-3, (self._now() - began) * of_all)

    def _time_storing(self) -> float:
        """Seconds to write weights, averages and moments."""
        path, weights = self.work / "timing.pt", self.loaded.model.state_dict()
        path.parent.mkdir(parents=True, exist_ok=True)
        began = self._now()
        checkpoint.save(path, {str(k): weights for k in range(2)})
        seconds = 2 * (self._now() - began)
        path.unlink()
        return seconds

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()

    def run(self, planned: Planned) -> str:
        """Train and measure; the run's line of the printed table."""
        began = time.monotonic()
        training = {**self.settings["training"], "steps": planned.steps}
        training |= dict(n_checkpoints=planned.n_checkpoints)
        if "checkpoints_from" in training:
            training["checkpoints_from"] = min(training["checkpoints_from"], planned.steps)
        if training["warmup"] > planned.steps // 2:
            print(
                f"{self.name}: warm-up of {training['warmup']} steps is cut to half of {planned.steps}",
                flush=True,
            )
            training["warmup"] = planned.steps // 2
        settings = {**self.settings, "training": training}
        config = self.work / "config.yaml"
        write_text(config, json.dumps(settings, indent=2) + "\n")
        table = self.work / "decomposition.csv"
        run, self.loaded = replace(self.loaded, settings=settings), None  # weights come from checkpoints
        measured = Measured(run, self.data, table.parent / decompose.KEPT, self.code, self.grids)
        rows: dict[int, list[dict]] = {}
        cost = self.work / "cost.json"
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

        def measure(path: Path) -> None:
            step = checkpoint.step_of(path)
            rows[step] = measured.rows(path, step == planned.steps)
            tables.write_table(self.out / f"{self.name}.csv", sum(rows.values(), []), list(DECOMPOSITION))
            print(f"{self.name}: measured step {step}", flush=True)

        if not (self.work / "summary.json").is_file():
            self._train(config, measure)
        if not cost.is_file():  # else of the call that trained to the end
            memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None
            spent = dict(seconds=round(time.monotonic() - began, 1), peak_memory_gib=memory)
            write_text(cost, json.dumps(spent) + "\n")
        if not table.is_file():  # of this plan, else it would be gone
            args = config, self.data, self.work / "checkpoints", table, self.grids, self.code, self.threads
            decompose.decompose(*args)
        return self._finish(table, settings, planned, _read(cost))

    def _train(self, config: Path, measure: Callable[[Path], None]) -> None:
        for path in sorted((self.work / "resume/checkpoints").glob("step_*.pt")):  # of a killed call
            measure(path)
        train.train(
            config,
            self.data,
            self.work,
            self.code,
            self.threads,
            at_checkpoint=measure,
            resume_every=KEEP_EVERY,
        )

    def _finish(self, table: Path, settings: dict, planned: Planned, cost: dict) -> str:
        from equidyn.figures import published, style

        rows = tables.read([table])
        write_text(self.out / f"{self.name}.csv", table.read_text())
        style.save(published.draw(rows, tables.read_paper(published.PAPER)), str(self.out / self.name))
        summary = _read(self.work / "summary.json")
        memory = cost["peak_memory_gib"]
        told = dict(date=date.today().isoformat(), commit=commit(), cuda=torch.version.cuda)
        told |= cost | dict(planned=asdict(planned))
        told |= dict(summary=summary, settings=settings)
        told |= dict(data=content_digest.stored_digest(self.data))
        write_text(self.out / f"{self.name}.json", json.dumps(told, indent=2) + "\n")
        curve = tables.curve(rows, self.name, condition=rows[0]["condition"])
        lowest, last = min(curve, key=lambda row: row["percent"]), curve[-1]
        return (
            f"| {self.name} {rows[0]['condition']} | {summary['parameters'] / 1e6:.2f}M | "
            f"{summary['steps']} of {self.settings['training']['steps']} | {summary['steps_per_second']} | "
            f"{'–' if memory is None else f'{memory:.1f}'} | {last['total'] / last['zero_loss']:.3g} | "
            f"{percent_text(last)} | "
            f"{lowest['percent']:.3g} at {lowest['step']:.0f} |"
        )


def _summary(lines: list[str], seconds: float, device: str) -> str:
    name = hardware(torch.device(resolve_device(device)))
    head = (
        f"{name}, torch {torch.__version__}, {date.today().isoformat()}, commit {commit()}, {seconds:.0f} s"
    )
    return "\n".join([head, "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *lines, ""])


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except ValueError as error:
        raise DataError(
            f"{path}: not JSON ({error}), expected what this command writes; delete it"
        ) from error
