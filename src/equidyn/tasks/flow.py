"""Task `flow`: Cα backbones by conditional flow matching; the noised chain x_t [nm] and the time to the
velocity x_1 − x_0 [nm].

x_1 is a chain centred on the mean of its residues, x_0 ~ N(0, 1 nm) centred alike, x_t = (1 − t) x_0 + t x_1.
The velocity v predicts x̂_1 = x_t + (1 − t) v. Centring makes everything translation invariant; files hold Å,
everything here is nm. Held-out losses are in nm², mean over residues and components, one condition per time;
``,sc`` marks those with self-conditioning. Residues are numbered by their place in the chain; a gap in the
file's own numbering shows as a chain break.
"""

import numpy as np
import torch
import torch.nn.functional as F

from equidyn import defaults, seeds
from equidyn.data import store
from equidyn.data.padding import Ragged, gathered, have_room, looked_up
from equidyn.data.select import held_out_items, one_per_cluster, subset, training_items
from equidyn.device import on_device
from equidyn.errors import DataError, UnknownNameError
from equidyn.geometry.pairs import DISTOGRAM_BINS, DISTOGRAM_FARTHEST, centred, distance_bins
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Scalar, Vector
from equidyn.symmetry.measure import Batch
from equidyn.tasks.protocol import TrainsInParts, draws_of_symmetry, penalised, predicted

TASK = {
    "name": "flow",
    "class": "Flow",
    "title": "Flow matching on protein backbones",
    "unit": "nm²",
    "kind": "backbones",
    "sources": ["backbones", "structures", "chains"],
    "rotations": "haar",
    "tables": ["samples.csv", "chirality.csv"],
    "picture": "final_times",
    "note": "Losses are of the velocity, per flow time t. The linear denoiser of the chain knows mean "
    "distances by separation alone and is exactly equivariant: what it reaches too shows no learned fold. "
    "Conditions ending in sc have self-conditioning on.",
}

N_FIT = 1000  # of them at most
PLACES = 16  # residues of a batch are rounded up to this where few shapes may occur
TIMES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)
DISTOGRAM_FROM = 0.3  # the distogram loss counts later than this


def draw_times(n: int, rng: np.random.Generator) -> torch.Tensor:
    """n training times from 0.02 U(0, 1) + 0.98 Beta(1.9, 1): float32 [n]."""
    uniform, beta = (
        rng.random(n),
        rng.random(n) ** (1 / 1.9),
    )  # the inverse distribution function of Beta(a, 1) is u^(1/a)
    return torch.from_numpy(np.where(rng.random(n) < 0.02, uniform, beta)).float()


def distogram_loss(
    logits: torch.Tensor, x_1: torch.Tensor, mask: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the pair distances of x_1 [b, n, 3], mean over the pairs of an item: [b], zero where t
    ≤ 0.3.
    """
    target = distance_bins(x_1, DISTOGRAM_BINS, DISTOGRAM_FARTHEST)
    pairs = (mask[:, :, None] & mask[:, None, :]).to(logits.dtype)
    loss = F.cross_entropy(logits.permute(0, 3, 1, 2), target, reduction="none")  # (b, n, n)
    return (loss * pairs).sum((1, 2)) / pairs.sum((1, 2)) * (t > DISTOGRAM_FROM)


class Chains(Ragged):
    """Positions of chains, each about the mean of its residues."""

    def __getitem__(self, items: int | torch.Tensor) -> torch.Tensor:
        items = torch.as_tensor(items)
        return super().__getitem__(items) if items.ndim else super().__getitem__(items[None])[0]

    def take(self, places: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        found = super().take(places, there)  # (b, n, 3)
        return centred(found.double(), there.to(found.device)).float()


class Flow(TrainsInParts):
    """See the module; ``settings`` are the keys ``training`` (n_train, augment, self_conditioning) and, for
    measuring, ``measure`` (n_items, batch_size, times, self_conditioning_times) of a run's config.

    Raises
    ------
    DataError
        a file that is not one of backbones, or that holds fewer chains than asked for
    """

    name = "flow"
    actions = dict(x_t=Vector(), t=Scalar(), mask=Fixed(), index=Fixed(), breaks=Fixed(), x_sc=Vector())
    output = Vector()
    losses = {}
    group = "haar"

    def __init__(self, dataset: str, settings: dict, device: str = "cpu"):
        arrays, attributes = store.read(dataset, "backbones")
        self.settings, self.device, self.source = settings, device, attributes["source"]
        lengths = np.diff(arrays["offsets"])
        self.mask = Ragged.mask(arrays["offsets"])  # [items]: (b, n)
        self.breaks = Ragged(arrays["breaks"], arrays["offsets"])  # (b, n)
        self.positions = Chains(arrays["positions"] / 10, arrays["offsets"])  # (b, n, 3) nm
        self.cluster = torch.from_numpy(arrays["cluster"])
        training = training_items(arrays, dataset, settings["training"].get("n_train"))
        self.train, self.n_train = torch.from_numpy(training), len(training)
        self.lengths = lengths[training]  # batches are drawn from chains of similar length
        measured = settings.get("measure", {})  # training has none
        test = torch.from_numpy(held_out_items(arrays, dataset, measured.get("n_items")))
        self.test = test[self.mask[test].sum(1).argsort(stable=True)]  # by length: little padding
        seen = torch.from_numpy(subset(one_per_cluster(arrays, training), len(test)))
        self.seen_items = seen[self.mask[seen].sum(1).argsort(stable=True)]
        self.times = {f"t={t:g}": float(t) for t in measured.get("times", TIMES)}
        self.conditions = tuple(self.times)
        self.conditions_sc = tuple(
            f"t={t:g},sc" for t in measured.get("self_conditioning_times", self.times.values())
        )
        self._trivial_losses, self._rescalings = {}, {}
        if have_room(device, self._arrays.values()):
            self.positions, self.breaks = (array.to(device) for array in self._arrays.values())

    @property
    def _arrays(self) -> dict[str, Ragged]:
        return dict(positions=self.positions, breaks=self.breaks)

    def _chains(self, items: torch.Tensor):
        """x_1 [b, n, 3], mask [b, n], and the inputs that do not depend on the noise; padded to the longest
        chain of the batch.
        """
        return self._gathered(on_device(looked_up(self._arrays, items, self.device), self.device))

    def _gathered(self, rows: dict[str, torch.Tensor]):
        arrays = gathered(self._arrays, rows)
        mask, breaks = arrays["mask"], arrays["breaks"]
        index = torch.arange(1, mask.shape[1] + 1, device=mask.device).expand(mask.shape)
        return arrays["positions"], mask, dict(mask=mask, index=index, breaks=breaks)

    def _noise(self, items: torch.Tensor, mask: torch.Tensor, seed: int) -> torch.Tensor:
        """x_0 [b, n, 3], centred; of an item it depends on seed and the item alone, not on the batch or its
        padding.
        """
        noise = torch.zeros(*mask.shape, 3)
        for row, item, n in zip(noise, items.tolist(), mask.sum(1).tolist()):
            row[:n] = torch.from_numpy(np.random.default_rng([seed, item]).normal(size=(n, 3)))
        return centred(noise.to(self.device), mask)

    def draw(self, items: torch.Tensor, step_seed: int, few_shapes: bool = False) -> dict:
        """Where the rows of the chains are, rotations (with probability ``augment``), noise and times; with
        probability ``self_conditioning`` (0.5), for the whole batch at once, that a first pass supplies x_sc.
        """
        training = self.settings["training"]

        def rng(k):
            return np.random.default_rng([step_seed, k])

        drawn = looked_up(self._arrays, self.train[items], self.device, PLACES if few_shapes else 1)
        rotation = groups.sometimes(len(items), step_seed, training["augment"], rng(1))
        longest = int(drawn["mask"].sum(1).max())  # the draws of a seed do not depend on more padding
        noise = torch.from_numpy(rng(2).normal(size=(len(items), longest, 3)))
        noise = F.pad(noise, (0, 0, 0, drawn["mask"].shape[1] - longest))
        chance = training.get("self_conditioning", defaults.SELF_CONDITIONING)
        drawn |= dict(rotation=rotation, noise=noise, t=draw_times(len(items), rng(3)))
        drawn |= dict(self_conditioning=bool(rng(4).random() < chance))
        return drawn | draws_of_symmetry(self, len(items), step_seed)

    def make(self, model: torch.nn.Module, drawn: dict) -> dict:
        """Chains x_1, and the inputs of a batch."""
        x_1, mask, fixed = self._gathered(drawn)
        x_1 = Vector().apply(drawn["rotation"], x_1)  # x_0 is isotropic
        x_0, t = centred(drawn["noise"].to(x_1), mask), drawn["t"].to(x_1)
        x_t = (1 - t)[:, None, None] * x_0 + t[:, None, None] * x_1
        inputs = dict(x_t=x_t, t=t, **fixed, x_sc=torch.zeros_like(x_1))
        return dict(x_1=x_1, inputs=inputs) | {
            name: drawn[name] for name in ("self_conditioning", "symmetry")
        }

    def loss(self, model: torch.nn.Module, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean over the batch of ‖x_1 − x̂_1‖² / ((1 − t)² + 1e-5); with pair updates plus the distogram loss
        where t > 0.3.
        """
        inputs, x_1 = dict(batch["inputs"]), batch["x_1"]
        mask, t = inputs["mask"], inputs["t"]
        if batch["self_conditioning"]:
            inputs["x_sc"] = self.first_estimate(model, inputs)
        auxiliary = torch.zeros_like(t)
        if getattr(model, "distances", None) is None:
            (velocity,) = predicted(self, lambda x: (model(**x),), inputs, (Vector(),), batch)
        else:
            outputs = Vector(), Scalar()
            velocity, logits = predicted(self, lambda x: model.distogram(**x), inputs, outputs, batch)
            auxiliary = distogram_loss(logits, x_1, mask, t)
        error = (x_1 - inputs["x_t"] - (1 - t)[:, None, None] * velocity).square() * mask[..., None]
        flow = error.sum((1, 2)) / (3 * mask.sum(1)) / ((1 - t) ** 2 + 1e-5)  # (b,)
        log = {"flow_loss": flow.mean().detach(), "distogram_loss": auxiliary.mean().detach()}
        loss = (flow + auxiliary).mean()

        def predict(turned):
            return model(**turned)

        return penalised(loss, log, self, predict, inputs, velocity, mask, batch)

    @torch.no_grad()
    def first_estimate(self, model: torch.nn.Module, inputs: dict) -> torch.Tensor:
        """x̂_1 [b, n, 3] nm of a pass without gradients, what self-conditioning hands to the next."""
        return inputs["x_t"] + (1 - inputs["t"])[:, None, None] * model(**inputs)

    def held_out(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """Held-out chains at the time of the condition, ``t=0.4`` or ``t=0.4,sc``; no condition is the first
        of ``conditions``.

        With ``,sc`` x_sc comes from a first pass of this model on x_t as it stands, so it belongs to the
        checkpoint; then it is an input like any other and turns with x_t.

        Raises
        ------
        UnknownNameError
            a condition that is neither in ``conditions`` nor in ``conditions_sc``
        """
        return self._batches(model, self.test, condition)

    def seen(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """Training chains, their noise made like that of held-out ones."""
        return self._batches(model, self.seen_items, condition)

    def _batches(self, model, chosen: torch.Tensor, condition: str) -> list[Batch]:
        t, self_conditioning = self._parse(condition)
        batches = []
        for items in chosen.split(self.settings["measure"]["batch_size"]):
            x_t, target, mask, fixed = self._noised(items, t, seeds.FLOW_NOISE)
            inputs = dict(
                x_t=x_t,
                t=torch.full((len(items),), t, device=x_t.device),
                **fixed,
                x_sc=torch.zeros_like(x_t),
            )
            if self_conditioning:
                inputs["x_sc"] = self.first_estimate(model, inputs)
            batches.append(Batch(inputs, target, mask, self.cluster[items]))
        return batches

    def held_out_chains(self, n: int) -> list[np.ndarray]:
        """n held-out chains of all lengths, positions [n_residues, 3] in Å, centred.

        Raises
        ------
        DataError
            more than ``measure.n_items``
        """
        if n > len(self.test):
            raise DataError(f"sample.n_chains = {n}, expected at most measure.n_items = {len(self.test)}")
        chosen = self.test[np.linspace(0, len(self.test) - 1, n).round().astype(int)]
        return [10 * self.positions[item].cpu().numpy() for item in chosen.tolist()]

    def _noised(self, items, t: float, seed: int):
        x_1, mask, fixed = self._chains(items)
        x_0 = self._noise(items, mask, seed)
        return (1 - t) * x_0 + t * x_1, x_1 - x_0, mask, fixed

    def _parse(self, condition: str) -> tuple[float, bool]:
        condition = condition or self.conditions[0]
        if condition not in self.conditions + self.conditions_sc:
            raise UnknownNameError(
                f"flow: condition {condition!r}, expected one of {[*self.conditions, *self.conditions_sc]}"
            )
        return float(condition.removesuffix(",sc").removeprefix("t=")), condition.endswith(",sc")

    def predict(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Velocity [n_items, n, 3] in nm."""
        return model(**inputs)

    def trivial_loss(self, condition: str = "") -> float | None:
        """Held-out loss of v = a(t) x_t, the best such a fitted on training chains: exactly equivariant, and
        all it knows is the time.
        """
        t, _ = self._parse(condition)
        if t not in self._trivial_losses:
            self._trivial_losses[t] = self._trivial(t)
        return self._trivial_losses[t]

    def rescaling(self, t: float) -> float:
        """a of the best v = a x_t at this time, fitted on training chains."""
        if t not in self._rescalings:
            self._rescalings[t] = self._fit_rescaling(t)
        return self._rescalings[t]

    def _fit_rescaling(self, t: float) -> float:
        dot = power = 0.0
        for items in torch.from_numpy(subset(self.train.numpy(), N_FIT)).split(100):
            x_t, velocity, _, _ = self._noised(items, t, seeds.FLOW_FIT_NOISE)
            dot, power = (
                dot + (x_t.double() * velocity).sum().item(),
                power + x_t.double().square().sum().item(),
            )
        return dot / power

    def _trivial(self, t: float) -> float:
        loss, count, a = 0.0, 0, self.rescaling(t)
        for items in self.test.split(100):
            x_t, velocity, mask, _ = self._noised(items, t, seeds.FLOW_NOISE)
            loss, count = (
                loss + (velocity.double() - a * x_t).square().sum().item(),
                count + 3 * mask.sum().item(),
            )
        return loss / count
