"""Counted operations against torch's counter on training steps; the table of measured throughputs."""

import json

import pytest
import torch
from test_estimate import TABLE

from equidyn.cost import throughput
from equidyn.errors import DataError
from equidyn.models import registry


@pytest.mark.parametrize(
    "architecture, task, rows", [("escaip", "forces", 12), ("proteina", "flow", 30), ("voxmol", "voxels", 0)]
)
def test_a_training_step_is_three_forwards(architecture, task, rows):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    cost = throughput.cost_of(dict(architecture=architecture, size="mini"), task, rows, (8, 16))
    model = registry.build(architecture, "mini")
    inputs = throughput.one_item(task, model, rows, (8, 16), "cpu", b=2)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        output = model(**inputs)
        (sum(o.square().sum() for o in output) if task == "forces" else output.square().sum()).backward()
    assert abs(counter.get_total_flops() / (2 * cost.flops) - throughput.FLOPS_PER_FORWARD) < 0.25


def test_cost_grows_as_it_must():
    def flops(size, rows):
        return throughput.cost_of(dict(architecture="proteina", size=size), "flow", rows, (0, 0))

    short, long, wide = flops("tiny", 20), flops("tiny", 40), flops("mini", 20)
    assert 2 < long.flops / short.flops < 4 and long.kept > 2 * short.kept and wide.flops > short.flops
    grids = [
        throughput.cost_of(dict(architecture="voxmol", size="tiny"), "voxels", 0, (8, g)) for g in (8, 16)
    ]
    assert grids[1].flops > 8 * grids[0].flops
    with pytest.raises(KeyError, match="expected one of"):
        throughput.cost_of(dict(architecture="voxmol", size="1B"), "voxels", 0, (8, 8))


def test_counting_leaves_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    throughput._cost.cache_clear()
    throughput.cost_of(dict(architecture="escaip", size="tiny"), "forces", 9, (0, 0))
    assert torch.equal(torch.rand(2), expected)


def test_published_sizes_are_counted_without_their_memory():
    assert (
        64e6
        < throughput.cost_of(dict(architecture="proteina", size="60M"), "flow", 64, (0, 0)).parameters
        < 65e6
    )
    assert (
        111e6
        < throughput.cost_of(dict(architecture="voxmol", size="111M"), "voxels", 0, (8, 32)).parameters
        < 112e6
    )


def test_table_of_throughputs_is_checked_and_extended(tmp_path):
    path = tmp_path / "throughput.csv"
    throughput.write(path, TABLE)
    assert throughput.read(path) == TABLE
    throughput.write(path, [{**TABLE[0], "achieved_flops": 5e9}])
    assert sorted(row["achieved_flops"] for row in throughput.read(path)) == [2e9, 3e9, 5e9]
    check = dict(
        date="2020-01-01",
        hardware="card",
        torch="2",
        models=[dict(architecture="voxmol", size="111M", tflops=2.5, items=8, length=64)],
    )
    (tmp_path / "check.json").write_text(json.dumps(check))
    (row,) = throughput.measured_on_gpu(tmp_path / "check.json")
    assert throughput.achieved([row], "card", "voxels", "voxmol 111M")[0] == 2.5e12
    for text, match in [
        ("device,task\n", "columns"),
        (path.read_text().replace("5e", "x5e").replace("5000000000.0", "fast"), "achieved_flops"),
        ("", "columns"),
    ]:
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(DataError, match=match):
            throughput.read(tmp_path / "bad.csv")
    for bad in ("absent.json", "bad.csv"):
        with pytest.raises(DataError, match="gpu_check"):
            throughput.measured_on_gpu(tmp_path / bad)
    with pytest.raises(DataError, match="no such table"):
        throughput.read(tmp_path / "absent.csv")
