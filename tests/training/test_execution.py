"""Ways of running a training step give one result: draws made ahead, few shapes, graphs, an autocast."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from common import TRAINING
from small_tasks import small_flow, small_forces, small_voxels
from torch.utils._python_dispatch import TorchDispatchMode

from equidyn.device import placed, placed_for_training
from equidyn.errors import ConfigError, TrainingError
from equidyn.models import registry
from equidyn.processes import ALONE
from equidyn.training import execution
from equidyn.training.draws import Draws
from equidyn.training.trainer import Trainer, Watch

MAKERS = pytest.mark.parametrize("make", [small_forces, small_voxels, small_flow])
ITEMS = torch.arange(5)


def gradients(model):
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def batch_of(task, model, few_shapes=False, seed=3, items=ITEMS):
    return task.make(model, task.draw(items, seed, few_shapes))


@MAKERS
def test_few_shapes_change_nothing_but_rounding(make, tmp_path):
    task, architecture, _ = make(tmp_path)
    found = {}
    for few_shapes in (False, True):
        model = registry.build(architecture, "tiny", 0).eval()  # no dropout
        loss, _ = task.loss(model, batch_of(task, model, few_shapes))
        loss.backward()
        found[few_shapes] = loss.item(), gradients(model)
    assert found[True][0] == pytest.approx(found[False][0], rel=1e-5)
    for a, b in zip(found[True][1], found[False][1], strict=True):
        assert (a - b).norm() <= 1e-4 * max(b.norm(), 1e-3)


def test_batches_of_molecules_have_few_shapes(tmp_path):
    task, architecture, _ = small_forces(tmp_path)
    model = registry.build(architecture, "tiny", 0)
    shapes = {few: set() for few in (False, True)}
    for few in shapes:
        for seed in range(12):
            items = torch.randperm(task.n_train, generator=torch.Generator().manual_seed(seed))[:8]
            shapes[few].add(execution._shape(batch_of(task, model, few, seed, items)))
    assert len(shapes[True]) < len(shapes[False])


class Waits(TorchDispatchMode):
    """Operators, backward included, whose result or its shape is known only when the device is asked."""

    ASK = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount"}

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if name in self.ASK or by_mask:
            self.names.append(name)
        return function(*args, **(kwargs or {}))


def test_waits_are_seen():
    x, mask = torch.arange(4.0, requires_grad=True), torch.tensor([True, False, True, False])
    for ask in (
        lambda: x[mask].sum(),
        lambda: x.sum().item(),
        lambda: mask.nonzero(),
        lambda: bool(mask.any()),
    ):
        with Waits() as seen:
            ask()
        assert seen.names
    with Waits() as seen:
        (x[torch.tensor([0, 2])] * 2).sum().backward()
    assert not seen.names


@MAKERS
def test_the_loss_waits_for_nothing(make, tmp_path, monkeypatch):
    """Reading a value, or an index whose length is not known, would make a GPU wait: neither happens in a
    step between two rows of metrics.csv.
    """
    task, architecture, _ = make(tmp_path)
    model = registry.build(architecture, "tiny", 0).train()
    settings = {**task.settings["training"], "log_every": 10**6}
    trainer = Trainer(model, task, settings, 0, "run")
    monkeypatch.setattr(Trainer, "check", lambda self: None)  # on a CPU it looks at every step
    monkeypatch.setattr("equidyn.data.voxelize.numba", None)  # as on a GPU
    parts = trainer.draws().of_step(1)
    with Waits() as seen:
        trainer.advance(1, parts)
    assert not seen.names


class Replayed:
    """What stands for a CUDA graph on a CPU: it runs again on the tensors that it was recorded with."""

    def __init__(self, graphs, batch, share):
        self.graphs, self.batch, self.share = graphs, batch, share

    def replay(self):
        for p in self.graphs.parameters:
            p.grad = None
        loss, log = self.graphs.run(self.batch, self.share)
        recorded = next(r for r in self.graphs.recorded.values() if r.graph is self)
        recorded.result[0].copy_(loss)
        for kept, p in zip(recorded.gradients, self.graphs.parameters):
            if kept is not None:
                kept.copy_(p.grad)


@MAKERS
def test_what_is_replayed_is_what_would_have_run(make, tmp_path, monkeypatch):
    """Batches are copied to where a graph reads, gradients taken from where it writes, shape by shape."""

    def record(self, batch, share):
        batch = execution._like(batch)
        for p in self.parameters:
            p.grad = None
        result = self.run(batch, share)
        kept = [None if p.grad is None else p.grad.clone() for p in self.parameters]
        return execution._Recorded(Replayed(self, batch, share), batch, (result[0].clone(), result[1]), kept)

    monkeypatch.setattr(execution.Graphs, "_record", record)
    monkeypatch.setattr(execution.Graphs, "_aside", lambda self, batch, share: self.run(batch, share))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    curves = []
    for graphs in (False, True):
        task, architecture, _ = make(tmp_path / str(graphs))
        model = registry.build(architecture, "tiny", 0)
        settings = {**task.settings["training"], "log_every": 1, "execution": "graphs"}
        trainer = Trainer(model.eval(), task, settings, 0, "run")  # no dropout: this records twice
        if graphs:
            trainer.passes = execution.Graphs(trainer.passes, model)
        draws = trainer.draws()
        curves.append([trainer.advance(step, draws.of_step(step))["loss"] for step in range(16)])
        if graphs:
            assert trainer.passes.recorded
    assert curves[0] == curves[1] and len(set(curves[0])) == 16


@pytest.mark.parametrize(
    "architecture, expected",
    [("escaip", {"Block", "Readout"}), ("voxmol", {"VoxMol"}), ("proteina", {"Layer"})],
)
def test_like_blocks_are_compiled_one_for_all(architecture, expected, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(type(module).__name__))
    execution.compile_parts(registry.build(architecture, "tiny"))
    assert set(compiled) == expected


@pytest.mark.parametrize(
    "make, options, kinds",
    [(small_forces, dict(layers=2), 2), (small_voxels, {}, 1), (small_flow, dict(layers=3), 1)],
)
def test_what_is_compiled_is_one_graph_and_the_same(make, options, kinds, tmp_path, monkeypatch):
    """Traced, but not made into machine code, which takes a minute: a graph for each kind of part and one
    more when sizes change, however many parts there are.
    """
    original, counts = torch.nn.Module.compile, torch._dynamo.utils.counters["stats"]
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda module: original(module, backend="aot_eager", fullgraph=True)
    )
    monkeypatch.setattr("equidyn.data.voxelize.numba", None)
    torch._dynamo.reset()
    counts.clear()
    found, graphs = {}, []
    for execution_ in ("eager", "compiled-graphs"):
        task, architecture, _ = make(tmp_path)
        model = registry.build(architecture, "tiny", 0, **options).eval()
        settings = {**task.settings["training"], "execution": execution_}
        passes = execution.passes_of(task, model, settings)
        for n in (3, 6):
            batch = batch_of(task, model, True, items=torch.arange(n))
            model.zero_grad()
            found[execution_, n] = passes(batch, 1.0)[0].item(), gradients(model)
            graphs.append(counts["unique_graphs"])
    for n in (3, 6):
        (loss, expected), (other, seen) = found["eager", n], found["compiled-graphs", n]
        assert other == pytest.approx(loss, rel=1e-5)
        # all that a bias before a norm has for a gradient
        rounding = 1e-6 * torch.stack([b.norm() for b in expected]).norm()
        assert all((a - b).norm() <= 1e-4 * b.norm() + rounding for a, b in zip(seen, expected))
    assert graphs[1] == 0 and graphs[2] == kinds and graphs[3] <= 2 * kinds
    torch._dynamo.reset()


@MAKERS
def test_bfloat16_is_near_and_another(make, tmp_path):
    losses = {}
    for precision in ("float32", "tf32", "bf16"):
        task, architecture, _ = make(tmp_path / precision)
        model = registry.build(architecture, "tiny", 0).eval()
        passes = execution.passes_of(task, model, {**task.settings["training"], "precision": precision})
        losses[precision] = passes(batch_of(task, model), 1.0)[0].item()
    assert losses["tf32"] == losses["float32"] != losses["bf16"]  # on a CPU there is no TF32
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.1)


@MAKERS
def test_draws_made_ahead_are_those_of_their_steps(make, tmp_path, monkeypatch):
    """The thread that a GPU has, here on a CPU."""
    task, _, _ = make(tmp_path)
    draws = Draws(task, task.settings["training"], 0, ALONE)
    monkeypatch.setattr(draws, "device", torch.device("cuda"))
    monkeypatch.setattr("equidyn.training.draws.on_device", lambda drawn, device: drawn)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    with contextlib.closing(draws.of_steps(2, 9)) as ahead:
        for step, (part,) in enumerate(ahead, 2):
            (expected,) = draws.of_step(step)
            assert part.seed == expected.seed and torch.equal(part.items, expected.items)
            same = [k for k, v in part.drawn.items() if isinstance(v, torch.Tensor)]
            assert same and all(torch.equal(part.drawn[k], expected.drawn[k]) for k in same)
    assert step == 8


def test_a_loss_that_is_not_finite_is_found_when_it_is_asked_for():
    watch, settings = Watch(torch.device("cpu")), TRAINING
    for step, loss in enumerate([1.0, float("nan"), float("inf"), 2.0]):
        watch.see(step, torch.tensor(loss), torch.tensor(3.0))
    with pytest.raises(TrainingError, match="run r, step 1: loss nan, gradient norm 3.0"):
        watch.check("r", settings)


def test_the_memory_format_is_the_devices():
    model = placed(registry.build("voxmol", "tiny"), "cpu")
    assert model.down[0].block.conv1.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert (
        not model.to(memory_format=model.memory_formats["cuda"])
        .down[0]
        .block.conv1.weight.is_contiguous(memory_format=torch.channels_last_3d)
    )


CASES = [("cuda", "bf16", 1), ("cuda", "tf32", 0), ("cuda", "float32", 0), ("cpu", "bf16", 0)]


@pytest.mark.parametrize(("device", "precision", "moved"), CASES)
def test_in_bf16_a_gpu_gets_the_format_for_that(device, precision, moved):
    asked = []

    class OnDevice(torch.nn.Linear):
        bf16_format = registry.build("voxmol", "tiny").bf16_format

        def parameters(self, *args):
            yield SimpleNamespace(is_cuda=device == "cuda")

        def to(self, memory_format):
            asked.append(memory_format)
            return self

    model = OnDevice(1, 1)
    assert placed_for_training(model, precision) is model
    assert asked == [torch.channels_last_3d] * moved


def test_a_trainer_takes_the_format_of_its_precision(monkeypatch):
    given, there = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    asked = []

    def place(model, precision):
        asked.append((model, precision))
        return there

    monkeypatch.setattr("equidyn.training.trainer.placed_for_training", place)
    trainer = Trainer(given, object(), {**TRAINING, "precision": "tf32"}, 0, "r")
    assert asked == [(given, "tf32")] and trainer.model is there


@pytest.mark.parametrize("asked", [dict(execution="graphs"), dict(precision="bf16")])
def test_a_task_that_trains_in_one_part_refuses_what_it_would_ignore(asked):
    with pytest.raises(ConfigError, match="expected 'eager' and float32 or tf32"):
        Trainer(torch.nn.Linear(1, 1), object(), {**TRAINING, **asked}, 0, "r")
    Trainer(torch.nn.Linear(1, 1), object(), {**TRAINING, "precision": "tf32"}, 0, "r")
