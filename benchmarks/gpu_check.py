"""Full-size training on one device, ways of running it side by side: steps per second, memory, operations per
second against a large matmul, how far losses agree, the share of the time in which the GPU works, and what
measuring costs.

    make gpu-check          # on a machine with a GPU, the data of config/gpu-check.yaml being there
    python benchmarks/gpu_check.py results/gpu-check --runs voxmol-7M --only "bf16 channels-last" graphs ...

Every run is timed op by op in float32 first; then in TF32 and bfloat16, compiled, as CUDA graphs, U-Nets in
both memory formats. Each way starts from the same weights and draws, without dropout, so that losses can be
compared and nothing is compiled twice. What fails is a line of the table, and
the next one is tried; the file is written after each. A profile of the first and of the fastest way of each
run goes beside it. Needs what `equidyn run` needs.
"""

import argparse
import contextlib
import copy
import json
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from equidyn.device import hardware
from equidyn.files import write_text
from equidyn.provenance import commit
from equidyn.steps.measured import Measured
from equidyn.steps.measurement import Plan
from equidyn.steps.run import load
from equidyn.steps.run_in_time import TIMED, files_of, grids_made, settings_of, settled
from equidyn.symmetry.measure import measure_losses
from equidyn.training.execution import WARM, products
from equidyn.training.trainer import Trainer

CHANNELS_LAST, CONTIGUOUS = "channels-last", "contiguous"
FORMATS = {CHANNELS_LAST: torch.channels_last_3d, CONTIGUOUS: torch.contiguous_format}
WAYS = [  # execution, precision, memory format of a U-Net; the first is what others are compared with
    ("eager", "float32", CONTIGUOUS),
    ("eager", "tf32", CONTIGUOUS),
    ("graphs", "tf32", CONTIGUOUS),
    ("compiled-graphs", "tf32", CONTIGUOUS),
    ("eager", "bf16", CONTIGUOUS),
    ("graphs", "bf16", CONTIGUOUS),
    ("compiled-graphs", "bf16", CONTIGUOUS),
    ("eager", "bf16", CHANNELS_LAST),
    ("graphs", "bf16", CHANNELS_LAST),
    ("compiled-graphs", "bf16", CHANNELS_LAST),
    ("eager", "tf32", CHANNELS_LAST),
    ("eager", "float32", CHANNELS_LAST),  # took more than a minute for 64 grids of 64³
]
SLOWEST = 5.0  # s of the timed steps of one way: fewer steps where they take longer
ROWS = 20  # of a profile
COLUMNS = (
    "way | first step, s | steps/s | peak GiB | TFLOP/s | of matmul | GPU works | loss / the first way's | "
    "gradient / the first way's"
)


def ways_of(model: torch.nn.Module, only: list[str]) -> list[tuple[str, str, str]]:
    """Those that differ for a model: only some have a memory format; of those, the ones that have all words
    of one of ``only``.
    """
    found = [way for way in WAYS if hasattr(model, "memory_formats") or way[2] == CONTIGUOUS]
    return [way for way in found if not only or any(set(words.split()) <= set(way) for words in only)]


class Check:
    """One run, whose ways start from the same weights."""

    def __init__(self, results: Path, settings: dict, steps: int):
        self.settings, self.steps = settings, steps
        self.data, self.grids = grids_made(*files_of(results, settings))
        self.run = load(settings, self.data, self.grids, torch.get_num_threads())
        self.device = next(self.run.model.parameters()).device
        self.weights = copy.deepcopy(self.run.model.state_dict())

    def trainer(self, execution: str, precision: str, memory_format: str) -> Trainer:
        """A fresh one for a way."""
        training = {**self.settings["training"], "execution": execution, "precision": precision}
        self.run.task.settings = {**self.settings, "training": training}
        model = copy.deepcopy(self.run.model)
        model.load_state_dict(self.weights)
        if hasattr(model, "memory_formats"):
            model.to(memory_format=FORMATS[memory_format])
            model.bf16_format = FORMATS[memory_format]
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return Trainer(model.train(), self.run.task, training, self.settings["seed"], self.settings["run"])

    def now(self) -> float:
        """Seconds, when the device has done all."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def time(self, way: tuple[str, str, str]) -> dict:
        """Seconds and memory of a way."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        trainer, began = self.trainer(*way), self.now()
        self._seconds(trainer, 1)
        warm, one = self.now() - began, self._seconds(trainer, 1)
        n = max(1, min(self.steps, TIMED, int(SLOWEST / one)))
        settled(trainer, n)
        seconds = self._seconds(trainer, n)
        trainer.check()
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else None
        return dict(first_seconds=warm, steps_per_second=1 / seconds, peak_memory_gib=memory)

    def _seconds(self, trainer: Trainer, n: int) -> float:
        """Mean of the first n steps, taken once more."""
        with contextlib.closing(trainer.draws().of_steps(0, n)) as drawn:  # it ends a thread
            began = self.now()
            for step, parts in enumerate(drawn):
                trainer.advance(step, parts)
            return (self.now() - began) / n

    def agreement(self, way: tuple[str, str, str], first: dict | None) -> dict:
        """Loss and size of the gradient of the first batch, of graphs replayed, beside those of the first
        way.
        """
        trainer = self.trainer(*way)
        (part,) = trainer.draws().of_step(0)
        with products(trainer.settings):
            batch = self.run.task.make(trainer.model, part.drawn)
            for _ in range(WARM + 2 if way[0].endswith("graphs") else 1):
                trainer.optimizer.zero_grad(set_to_none=True)
                loss, _ = trainer.passes(batch, 1.0)
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        found = dict(loss=float(loss), gradient=float(torch.nn.utils.get_total_norm(gradients)))
        return found | {f"{name}_ratio": value / (first or found)[name] for name, value in found.items()}

    def flops(self) -> int:
        """Operations of a step, counted without doing them."""
        trainer, counter = self.trainer(*WAYS[0]), FlopCounterMode(display=False)
        (part,) = trainer.draws().of_step(0)
        batch = _without_values(self.run.task.make(trainer.model, part.drawn))
        with sdpa_kernel(SDPBackend.MATH), counter:  # fused kernels are not counted everywhere
            self.run.task.loss(trainer.model.to("meta"), batch)[0].backward()
        return counter.get_total_flops()

    def profile(self, way: tuple[str, str, str]) -> tuple[dict, str]:
        """Seconds in which a GPU works at a step and in how many kernels, and where they go, as tables: by
        kernel, and by operation and shapes of its inputs, for which graphs are left out, whose kernels have
        no operations.
        """
        cuda = self.device.type == "cuda"
        order = f"self_{'cuda' if cuda else 'cpu'}_time_total"
        n = 5 if cuda else 2
        averages, by_shape = self._profiled(way, n)
        if way[0].endswith("graphs"):
            execution = "compiled" if way[0].startswith("compiled") else "eager"
            by_shape = self._profiled((execution, *way[1:]), 2)[1]
        wide = dict(sort_by=order, row_limit=ROWS, max_name_column_width=110)
        table = averages.table(**wide) + "\n" + by_shape.table(**wide, max_shapes_column_width=120)
        kernels = [event for event in averages if _is_kernel(event)]
        busy = sum(event.self_device_time_total for event in kernels) / 1e6 / n
        count = sum(event.count for event in kernels) / n
        return dict(gpu_seconds=busy, kernels=count) if cuda else {}, table

    def _profiled(self, way: tuple[str, str, str], n: int) -> tuple[Any, Any]:
        """Where the time of n steps goes: by name, and by name and shapes."""
        activities = [torch.profiler.ProfilerActivity.CPU]
        activities += [torch.profiler.ProfilerActivity.CUDA] if self.device.type == "cuda" else []
        trainer = self.trainer(*way)
        settled(trainer, n)
        with torch.profiler.profile(activities=activities, record_shapes=True, acc_events=True) as profiler:
            self._seconds(trainer, n)
        return profiler.key_averages(), profiler.key_averages(group_by_input_shape=True)

    def measuring(self) -> dict[str, float]:
        """Seconds of the decomposition, and of all that the rows of a checkpoint's condition take (losses
        beside the squared one, floors), over those of as many plain forward passes.
        """
        measurement = Measured(self.run, self.data, self.data.parent / "unused", grids=self.grids).measurement
        task, model = self.run.task, self.run.model.eval()
        condition = task.conditions[0]
        batches = task.held_out(model, condition)
        saved = {"step": 0, "live": self.weights}
        n = len(measurement.main.drawn)

        @torch.no_grad()
        def forwards() -> None:
            for batch in batches:
                for _ in range(n):
                    task.predict(model, batch.inputs)

        def split() -> None:
            symmetry = task.actions, task.output, measurement.main.drawn
            measure_losses(model, task.predict, batches, *symmetry, {"mse": None}, measurement.main.order)

        spent = []
        plan = Plan("live", measurement.main, (condition,))
        for work in (forwards, split, lambda: list(measurement.rows(saved, plan))):
            work()
            began = self.now()
            work()
            spent.append(self.now() - began)
        return dict(decomposition_over_forwards=spent[1] / spent[0], rows_over_forwards=spent[2] / spent[0])


def _without_values(batch: dict) -> dict:
    """The same shapes on the device `meta`."""
    return {
        name: _without_values(value)
        if isinstance(value, dict)
        else value.to("meta")
        if isinstance(value, torch.Tensor)
        else value
        for name, value in batch.items()
    }


def _is_kernel(event: Any) -> bool:
    """Not an operator, whose kernels are events of their own, nor a name given to some of them."""
    return event.device_type != torch.autograd.DeviceType.CPU and not event.is_user_annotation


def attempt(call: Callable[[], Any]) -> Any:
    """What it returns, or None: out of memory, say, and the others count."""
    try:
        return call()
    except Exception:
        traceback.print_exc()
        return None


def check_run(
    results: Path, settings: dict, steps: int, matmul: float, profiles: Path, write, only: list[str]
) -> dict:
    """The ways of a run, see ``ways_of``; ``write`` is called with what there is after each."""
    check = Check(results, settings, steps)
    parameters = sum(p.numel() for p in check.run.model.parameters())
    model, training = settings["model"], settings["training"]
    first = check.run.task.held_out(check.run.model, check.run.task.conditions[0])[0]
    found = dict(run=settings["run"], architecture=model["architecture"], size=model["size"])
    found |= dict(parameters=parameters, items=training["batch_size"], length=first.target.shape[-2])
    lines: list[dict] = []
    flops = attempt(check.flops) or float("nan")
    found |= dict(flops=flops, ways=lines)
    for way in ways_of(check.run.model, only):
        line = dict(execution=way[0], precision=way[1], memory_format=way[2])
        lines.append(line)
        # what was compiled for other ways and networks counts against a limit, beyond which nothing is
        torch.compiler.reset()
        try:
            line |= check.time(way)
            line |= dict(tflops=flops * line["steps_per_second"] / 1e12)
            line |= dict(of_matmul=line["tflops"] / matmul)
            write(found)
            line |= check.agreement(way, next((done for done in lines if "loss" in done), None))
        except Exception as error:  # out of memory, or what this torch cannot compile: the others count
            line |= dict(error=str(error)[:300])
        write(found)
    done = [line for line in lines if "error" not in line]
    if not done:
        return found
    fastest = max(done, key=lambda line: line["steps_per_second"])
    for line in {id(line): line for line in (done[0], fastest)}.values():
        way = line["execution"], line["precision"], line["memory_format"]
        of_gpu, table = attempt(lambda way=way: check.profile(way)) or ({}, "failed")
        line |= of_gpu
        line["gpu_works"] = line["gpu_seconds"] * line["steps_per_second"] if of_gpu else None
        name = f"profile-{settings['run']}-{'-'.join(way)}.txt"
        (profiles / name).write_text(table + "\n")
    write(found)
    found |= attempt(check.measuring) or {}
    found |= {key: done[0][key] for key in ("steps_per_second", "peak_memory_gib", "tflops")}
    write(found)
    return found


def as_text(result: dict) -> str:
    """The table."""
    lines = [
        f"{result['hardware']}, torch {result['torch']}, float32 matmul {result['matmul_tflops']:.2f} "
        f"TFLOP/s, {result['date']}, commit {result['commit']}"
    ]
    for found in result["models"]:
        measuring = found.get("decomposition_over_forwards")
        told = (
            ""
            if measuring is None
            else f"; the decomposition takes {measuring:.2f} x as many forward passes, with all else that is "
            f"measured {found['rows_over_forwards']:.2f} x"
        )
        lines += [
            f"\n**{found['run']}**, {found['parameters'] / 1e6:.2f}M parameters, {found['items']} items a "
            f"step, {found['flops'] / 1e12:.3f} TFLOP{told}\n",
            f"| {COLUMNS} |",
            "|---" * (COLUMNS.count("|") + 1) + "|",
        ]
        lines += [_line(line, _by_format(found)) for line in found["ways"]]
    return "\n".join(lines) + "\n"


def _by_format(found: dict) -> bool:
    """Whether the ways of a run differ by memory format."""
    return any(line["memory_format"] != CONTIGUOUS for line in found["ways"])


def _line(line: dict, formats: bool) -> str:
    way = f"{line['execution']}, {line['precision']}" + (f", {line['memory_format']}" if formats else "")
    if "error" in line:
        return f"| {way} | failed: {' '.join(line['error'].split())[:120].replace('|', '/')} | | | | | | | |"
    memory = "–" if line["peak_memory_gib"] is None else f"{line['peak_memory_gib']:.1f}"
    works = line.get("gpu_works")
    works = "" if works is None else f"{100 * works:.0f} %"
    agrees = [
        f"{line[f'{name}_ratio']:.6f}" if f"{name}_ratio" in line else "" for name in ("loss", "gradient")
    ]
    return (
        f"| {way} | {line['first_seconds']:.1f} | {line['steps_per_second']:.2f} | {memory} | "
        f"{line['tflops']:.3f} | {100 * line['of_matmul']:.0f} % | {works} | "
        f"{' | '.join(agrees)} |"
    )


def matmul_tflops(device: str, side: int) -> float:
    """Of a large product in float32 without TF32."""
    a = torch.randn(side, side, device=device)
    spent = []
    for _ in range(5):
        _ = a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        _ = a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return 2 * side**3 / sorted(spent)[2] / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="folder of results of config/gpu-check.yaml")
    parser.add_argument("--runs", nargs="+", help="names, in this order; default: all")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--steps", type=int, default=60, help="timed steps of each way, at most")
    parser.add_argument("--only", nargs="+", default=[], help='ways, by some words: "graphs tf32" eager')
    parser.add_argument("--out", type=Path, required=True, help="JSON file; table and profiles go beside it")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            f"error: no CUDA device (torch {torch.__version__}, CUDA of this build: {torch.version.cuda}); "
            f"nothing was measured"
        )
    settings = [{**found, "device": args.device} for found in settings_of(args.results, args.runs)]
    matmul = matmul_tflops(args.device, 8192 if args.device == "cuda" else 1024)
    result = dict(
        date=date.today().isoformat(),
        commit=commit(),
        hardware=hardware(torch.device(args.device)),
        torch=torch.__version__,
        cudnn=torch.backends.cudnn.version(),  # some versions leave convolutions of grids to slow kernels
        matmul_tflops=matmul,
        models=[],
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)

    def write(found: dict) -> None:
        whole = {**result, "models": [*result["models"], found]}
        for path, text in (
            (args.out, json.dumps(whole, indent=2) + "\n"),
            (args.out.with_suffix(".md"), as_text(whole)),
        ):
            write_text(path, text)

    for one in settings:
        checked = attempt(
            lambda one=one: check_run(
                args.results, one, args.steps, matmul, args.out.parent, write, args.only
            )
        )
        if checked is None:
            continue
        result["models"].append(checked)
        print(as_text({**result, "models": result["models"][-1:]}), flush=True)


if __name__ == "__main__":
    main()
