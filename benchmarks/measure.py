"""Cost of the decomposition against the same number of plain forward passes, as ratios in one run.

python benchmarks/measure.py results/data/molecules.h5
"""

import argparse
import functools
import resource
import statistics
import time

import torch

from equidyn import tasks
from equidyn.models import registry
from equidyn.symmetry import groups
from equidyn.symmetry.measure import measure

SETTINGS = dict(training={}, measure=dict(n_items=128, batch_size=32))


def median_seconds(function, repeats: int = 5) -> float:
    """Median wall time after one warm-up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def compare(task, architecture: str) -> None:
    """Print seconds relative to plain forwards, and peak memory, for two numbers of rotations."""
    model = registry.build(architecture, "mini").eval()
    batches = task.held_out(model)
    n_items = sum(len(b) for b in batches)

    @torch.no_grad()
    def forwards():
        for _ in range(10):
            for batch in batches:
                task.predict(model, batch.inputs)

    plain = median_seconds(forwards) / 10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for n in (10, 40):
        arguments = (
            model,
            task.predict,
            batches,
            task.actions,
            task.output,
            groups.haar_per_item(n, n_items, 0),
        )
        seconds = median_seconds(functools.partial(measure, *arguments))
        extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        ratio = seconds / (n * plain)
        print(
            f"{architecture} mini, {n_items} items x {n} rotations: {seconds:.3f} s, {ratio:.2f} x plain "
            f"forwards, peak memory +{extra:.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="dataset file with force labels")
    args = parser.parse_args()
    torch.set_num_threads(1)
    task = tasks.build("forces", args.dataset, SETTINGS)
    for architecture in ("escaip", "rawdir"):
        compare(task, architecture)


if __name__ == "__main__":
    main()
