"""A task from outside the package with a model and a figure of its own, as the tests hand it to a config's
``extensions``: one file.
"""

import torch
from matplotlib.figure import Figure

from equidyn.data import store
from equidyn.data.padding import Ragged
from equidyn.data.select import held_out_items, one_per_cluster, subset, training_items
from equidyn.results import tables
from equidyn.symmetry.actions import Fixed, Vector
from equidyn.symmetry.measure import Batch

TASK = {
    "name": "centres",
    "class": "Centres",
    "title": "Centres of charge",
    "unit": "Å²",
    "kind": "forces",
    "rotations": "haar",
    "picture": "centres_total",
    "note": "From the centre of the atoms to that of their charges.",
}
MODEL = {"name": "weighted", "task": "centres", "class": "Weighted"}
SIZES = {"tiny": dict(start=0.5)}
FIGURES = [{"name": "centres_total", "task": "centres", "caption": "Total loss by step", "claim": "C2"}]


class Centres:
    """Positions [Å] and numbers to the vector from the centre of the atoms to that of their charges [Å]."""

    name = "centres"
    actions = dict(numbers=Fixed(), positions=Vector(), mask=Fixed())
    output = Vector()
    losses = {}
    group = "haar"
    conditions = ("",)

    def __init__(self, dataset, settings, device="cpu"):
        arrays, _ = store.read(dataset)
        self.device, self.settings = device, settings
        offsets = arrays["offsets"]
        every = torch.arange(len(offsets) - 1)  # a large dataset would be padded batch by batch
        self.mask = Ragged.mask(offsets)[every]
        self.numbers = Ragged(arrays["numbers"], offsets)[every].float()
        self.positions = Ragged(arrays["positions"], offsets)[every]
        self.cluster = torch.from_numpy(arrays["cluster"])
        chosen = training_items(arrays, dataset, settings["training"].get("n_train"))
        self.train, self.n_train = torch.from_numpy(chosen), len(chosen)
        n_items = settings.get("measure", {}).get("n_items")
        self.test = torch.from_numpy(held_out_items(arrays, dataset, n_items))
        self.known = torch.from_numpy(subset(one_per_cluster(arrays, chosen), len(self.test)))

    def _batch(self, items):
        inputs = dict(numbers=self.numbers[items], positions=self.positions[items], mask=self.mask[items])
        share = inputs["numbers"] / inputs["numbers"].sum(1, keepdim=True)
        share = share - inputs["mask"] / inputs["mask"].sum(1, keepdim=True)
        target = (share[..., None] * inputs["positions"]).sum(1)
        return Batch(inputs, target, None, self.cluster[items]).to(self.device)

    def training_loss(self, model, items, step_seed):
        batch = self._batch(self.train[items])
        loss = (model(**batch.inputs) - batch.target).square().mean()
        return loss, {"mse": loss.item()}

    def held_out(self, model, condition=""):
        return [self._batch(items) for items in self.test.split(self.settings["measure"]["batch_size"])]

    def seen(self, model, condition=""):
        return [self._batch(items) for items in self.known.split(self.settings["measure"]["batch_size"])]

    def predict(self, model, inputs):
        return model(**inputs)

    def trivial_loss(self, condition=""):
        return None

    def predictors(self):
        """The half of the target."""
        return {"half": Half()}


class Half:
    """A baseline: exactly equivariant."""

    def predict(self, inputs):
        return 0.5 * Weighted(1.0)(**inputs).detach()


class Weighted(torch.nn.Module):
    """The target, but for a factor of each axis of the laboratory."""

    def __init__(self, start):
        super().__init__()
        self.factors = torch.nn.Parameter(torch.tensor([1.0, 1.0, 1.2]) * start)

    def forward(self, numbers, positions, mask):
        share = numbers / numbers.sum(1, keepdim=True) - mask / mask.sum(1, keepdim=True)
        return (share[..., None] * positions).sum(1) * self.factors

    def equivariant_control(self):
        control = Weighted(1.0)
        torch.nn.init.constant_(control.factors, self.factors.detach().mean())
        return control.to(self.factors)


def draw(rows, paper):
    """A line per run."""
    figure = Figure(figsize=(3.5, 2.5))
    axis = figure.subplots()
    for run in tables.runs(rows):
        curve = tables.curve(rows, run)
        axis.plot([r["step"] for r in curve], [r["total"] for r in curve], label=run)
    return figure
