"""Task `voxels`: a noisy occupancy grid x + σε to the clean grid x; one noise level per run.

Training voxelizes from coordinates on the fly (rotation and shift first); the loss is the mean square error
in units of the zero predictor's, which differs from the published sum over the batch by a constant factor
that Adam does not see.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from equidyn import seeds
from equidyn.data import store
from equidyn.data.elements import channel_of
from equidyn.data.grids import geometry, whole_held_out
from equidyn.data.grids import read as read_grids
from equidyn.data.select import one_per_cluster, subset, training_items
from equidyn.data.voxelize import fits, voxelize_batch
from equidyn.device import on_device
from equidyn.errors import DataError
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid, Vector
from equidyn.symmetry.decomposition import Decomposition, accumulate, summarise
from equidyn.symmetry.measure import Batch, check_eval
from equidyn.symmetry.sums import ItemSums
from equidyn.tasks.protocol import TrainsInParts, draws_of_symmetry, penalised, predicted

TASK = {
    "name": "voxels",
    "class": "Voxels",
    "title": "Denoising voxels",
    "unit": "occupancy²",
    "kind": "molecules",
    "sources": ["conformers", "sdf", "xyz", "geom"],
    "rotations": "cube",
    "grids": True,
    "tables": ["fields.h5", "accuracy.csv"],
    "picture": "plane",
    "note": "Rotations are those of the cube, which act on a grid exactly: a lower bound for all of SO(3). "
    "Rows haar turn the atoms by any rotation and interpolate back; "
    "what a perfect denoiser measures that way (their floor) is interpolation, not broken symmetry.",
}

N_POWER = 512  # training molecules that the zero predictor's loss is taken from
SAMPLERS = {"haar": groups.haar, "euler": groups.euler_uniform}


class Voxels(TrainsInParts):
    """See the module; ``settings`` are a run's config; ``grids``, the file of held-out grids, is for
    measuring.
    """

    name = "voxels"
    actions = dict(noisy=Grid())
    output = Grid()
    losses: dict = {}
    group = "cube"
    conditions = ("",)

    def __init__(self, dataset: str, settings: dict, device: str = "cpu", grids: str | None = None):
        arrays, attributes = store.read(dataset, "molecules")
        self.grids = grids
        self.settings, self.device, self.sigma = settings, device, settings["training"]["sigma"]
        box = geometry(attributes, dataset)
        self.shape = dict(
            n_channels=len(box["elements"]),
            grid=box["grid"],
            resolution=box["resolution"],
            radius=box["radius"],
        )
        self.elements = box["elements"]
        self.positions, self.offsets = torch.from_numpy(arrays["positions"]).to(device), arrays["offsets"]
        self.channels = torch.from_numpy(channel_of(box["elements"])[arrays["numbers"]]).to(device)
        training = training_items(arrays, dataset, settings["training"].get("n_train"))
        self.train, self.n_train = training, len(training)
        self.cluster = torch.from_numpy(arrays["cluster"])
        whole = fits(arrays["positions"], self.offsets, box["grid"], box["resolution"], box["radius"])
        wanted, held_out = settings.get("measure", {}).get("n_items", 0), whole_held_out(arrays, whole)
        if wanted > len(held_out):
            raise DataError(
                f"{dataset}: measure.n_items = {wanted}, but only {len(held_out)} of its held-out molecules "
                f"lie in the box in every orientation; expected at least as many (more n_held_out)"
            )
        self.seen_items = subset(one_per_cluster(arrays, training[whole[training]]), wanted)
        few = torch.from_numpy(subset(training, N_POWER))
        sums = [
            self.clean(part.numpy()).double().square().mean().item() * len(part) for part in few.split(32)
        ]  # all published grids at once would be 4 GB
        self.power = sum(sums) / len(few)  # of the clean training grids: the loss of the zero predictor

    def clean(
        self, items: np.ndarray, rotation: torch.Tensor | None = None, shift: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Clean grids of dataset items, rotated and shifted before voxelizing: [n_items, c, g, g, g]."""
        drawn = self._atoms(items) | dict(rotation=rotation, shift=shift)
        return self._clean(on_device(drawn, self.device))

    def _atoms(self, items: np.ndarray) -> dict[str, torch.Tensor]:
        """Rows of the atoms of the items, whose they are, and where those of each begin."""
        start, stop = torch.from_numpy(self.offsets[items]), torch.from_numpy(self.offsets[items + 1])
        lengths = stop - start
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
        owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        rows = torch.arange(int(offsets[-1])) + (start - offsets[:-1])[owner]
        return dict(rows=rows, owner=owner, offsets=offsets)

    def _clean(self, drawn: dict) -> torch.Tensor:
        positions, owner = self.positions[drawn["rows"]], drawn["owner"]
        if drawn["rotation"] is not None:
            positions = Vector().apply(drawn["rotation"][owner], positions)
        if drawn["shift"] is not None:
            positions = positions + drawn["shift"][owner]
        channels = self.channels[drawn["rows"]]
        return voxelize_batch(positions, channels, drawn["offsets"], **self.shape, owner=owner)

    def draw(self, items: torch.Tensor, step_seed: int, few_shapes: bool = False) -> dict:
        """Which atoms, and their rotations (with probability ``augment``) and shifts."""
        training, chance = self.settings["training"], np.random.default_rng([step_seed, 1])
        sampler = SAMPLERS[training["sampler"]]
        rotation = groups.sometimes(len(items), step_seed, training["augment"], chance, sampler)
        shift = torch.from_numpy(chance.uniform(-1, 1, (len(items), 3)) * training["shift"]).float()
        drawn = self._atoms(self.train[items.numpy()]) | dict(rotation=rotation, shift=shift, seed=step_seed)
        return drawn | draws_of_symmetry(self, len(items), step_seed)

    def make(self, model: torch.nn.Module, drawn: dict) -> dict:
        """Clean grids, and with fresh noise."""
        clean = self._clean(drawn)
        generator = torch.Generator(self.device).manual_seed(drawn["seed"])
        noise = torch.randn(clean.shape, generator=generator, device=self.device)
        inputs = dict(noisy=clean + self.sigma * noise)
        return dict(inputs=inputs, clean=clean, symmetry=drawn["symmetry"])

    def loss(self, model: torch.nn.Module, batch: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Mean square error over Σ x²/n."""
        inputs, clean = batch["inputs"], batch["clean"]

        def predict(inputs):
            return model(**inputs).float()

        (prediction,) = predicted(self, lambda x: (predict(x),), inputs, (Grid(),), batch)
        loss = (prediction - clean).square().mean()
        log, unit = {"mse": loss.detach()}, self.power**0.5
        scaled = prediction / unit, lambda turned: predict(turned) / unit
        return penalised(loss / self.power, log, self, scaled[1], inputs, scaled[0], None, batch)

    def _frozen(self):
        if not hasattr(self, "_held_out"):
            data, wanted = read_grids(self.grids), self.settings["measure"]["n_items"]
            if wanted > len(data["item"]):
                raise DataError(
                    f"{self.grids}: measure.n_items = {wanted}, but only {len(data['item'])} held-out "
                    f"molecules fit the box"
                )
            chosen = subset(np.arange(len(data["item"])), wanted)
            data = {name: value[chosen] for name, value in data.items()}
            noise = np.stack(
                [
                    np.random.default_rng(seed).standard_normal(data["grid"].shape[1:], dtype=np.float32)
                    for seed in data["noise_seed"]
                ]
            )
            self._held_out = {name: torch.from_numpy(value) for name, value in data.items()} | {
                "noise": torch.from_numpy(noise)
            }
        return self._held_out

    def held_out(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """The frozen grids with their frozen noise, which turns with the grid."""
        data, batches = self._frozen(), []
        for rows in torch.arange(len(data["item"])).split(self.settings["measure"]["batch_size"]):
            clean, noise = data["grid"][rows].to(self.device), data["noise"][rows].to(self.device)
            batches.append(Batch(dict(noisy=clean + self.sigma * noise), clean, None, data["cluster"][rows]))
        return batches

    def atoms(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions [n_atoms, 3] in Å and channels [n_atoms] of a held-out molecule, by its row in the
        batches.
        """
        item = int(self._frozen()["item"][row])
        rows = slice(self.offsets[item], self.offsets[item + 1])
        return self.positions[rows].cpu().numpy(), self.channels[rows].cpu().numpy()

    def seen(self, model: torch.nn.Module, condition: str = "") -> list[Batch]:
        """Training molecules that lie in the box in every orientation; no batch if there are none."""
        batches, size = [], self.settings["measure"]["batch_size"]
        for start in range(0, len(self.seen_items), size):
            items = self.seen_items[start : start + size]
            clean = self.clean(items)
            noise = [
                np.random.default_rng([seeds.SEEN_NOISE, item]).standard_normal(
                    clean.shape[1:], dtype=np.float32
                )
                for item in items.tolist()
            ]
            noisy = clean + self.sigma * torch.from_numpy(np.stack(noise)).to(clean)
            batches.append(Batch(dict(noisy=noisy), clean, None, self.cluster[items]))
        return batches

    def predict(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Clean grids [n_items, c, g, g, g]."""
        return model(**inputs)

    @property
    def rescaling(self) -> float:
        """a of the best clean grid = a · noisy grid."""
        return self.power / (self.power + self.sigma**2)

    def trivial_loss(self, condition: str = "") -> float | None:
        """Held-out loss of a · noisy grid with the best a on the training set, s/(s + σ²) for clean grids of
        mean square s.
        """
        if not hasattr(self, "_trivial"):
            data, a = self._frozen(), self.rescaling
            self._trivial = (
                (a * (data["grid"] + self.sigma * data["noise"]) - data["grid"])
                .double()
                .square()
                .mean()
                .item()
            )
        return self._trivial

    def off_grid(self, model: torch.nn.Module, n_rotations: int, seed: int) -> Decomposition:
        """Haar rotations: of the atoms before voxelizing, of the noise and back of the predictions by
        trilinear interpolation.

        Interpolation is not exact, so this measures interpolation too, see ``off_grid_floor``. Noise is
        turned by interpolation and scaled to unit variance voxel by voxel (neighbours stay correlated, which
        a network may answer to); where it would come from outside the box it is drawn anew, because a network
        that sees clean corners sees something it was not trained on. Only voxels within g/2 − 1 of the centre
        count, whose interpolation stays inside the box.
        """
        check_eval(model)
        return self._off_grid(
            lambda noisy, clean: self.predict(model, dict(noisy=noisy)).float(), n_rotations, seed
        )

    def off_grid_floor(self, n_rotations: int, seed: int) -> Decomposition:
        """The same of a perfect denoiser, which is exactly equivariant: it gives the grid of the turned
        atoms. Its equivariance error is that of interpolating grids as sharp as clean ones.
        """
        return self._off_grid(lambda noisy, clean: clean, n_rotations, seed)

    @torch.no_grad()
    def _off_grid(self, denoise: Callable, n_rotations: int, seed: int) -> Decomposition:
        """Of ``denoise(noisy, clean)``, both of the turned atoms."""
        data = self._frozen()
        rotations = groups.haar_per_item(n_rotations, len(data["item"]), seed)
        ball = _ball(self.shape["grid"]).to(self.device)  # (g, g, g)
        parts = []
        for rows in torch.arange(len(data["item"])).split(self.settings["measure"]["batch_size"]):
            twisted = self._turned_and_back(denoise, rows, rotations[:, rows], seed)
            target = data["grid"][rows].to(self.device)
            mask = ball.expand(len(rows), target.shape[1], *ball.shape)
            parts.append(accumulate(twisted, target, mask))
        return summarise(ItemSums.join(parts), data["cluster"])

    def _turned_and_back(
        self, denoise: Callable, rows: torch.Tensor, rotations: torch.Tensor, seed: int
    ) -> Iterator[torch.Tensor]:
        """Predictions for some held-out items [b, c, g, g, g], one per rotation of [n, b, 3, 3]."""
        data = self._frozen()
        noise = data["noise"][rows].to(self.device)
        for k, rotation in enumerate(rotations):
            turned, spread = resample(noise, rotation)
            rngs = [np.random.default_rng([seed, row, k]) for row in rows.tolist()]
            fresh = [rng.standard_normal(noise.shape[1:], dtype=np.float32) for rng in rngs]
            rim = torch.from_numpy(np.stack(fresh)).to(noise)
            turned = torch.where(_outside(rotation, noise), rim, turned / spread)
            clean = self.clean(data["item"][rows].numpy(), rotation)
            back, _ = resample(denoise(clean + self.sigma * turned, clean), rotation.transpose(1, 2))
            yield back


def _ball(grid: int) -> torch.Tensor:
    axis = torch.arange(grid) - (grid - 1) / 2
    return axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= (grid / 2 - 1) ** 2


def _outside(rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Voxels [n_items, 1, g, g, g] that ``resample`` would fill, in part, from outside the grid of x."""
    size = x.shape[-1]
    return (_sources(rotation, x).abs() > 1 - 1 / size + 1e-4).any(-1)[:, None]


def _sources(rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Where every voxel comes from, in the coordinates of ``grid_sample``: [n_items, g, g, g, 3]."""
    b, _, *grid = x.shape
    matrix = torch.zeros(b, 3, 4, dtype=torch.float64)
    # affine_grid maps output to input coordinates and orders them z, y, x
    matrix[:, :, :3] = rotation.to("cpu", torch.float64).transpose(1, 2).flip(1, 2)
    return F.affine_grid(matrix, [b, 1, *grid], align_corners=False).to(x)


def resample(x: torch.Tensor, rotation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(ρ(R) x)(p) = x(R⁻¹ p) by trilinear interpolation, zero outside; and the standard deviation it gives to
    unit white noise.

    Parameters
    ----------
    x : [n_items, c, g, g, g];  rotation : [n_items, 3, 3]

    Returns
    -------
    [n_items, c, g, g, g] and [n_items, 1, g, g, g]
    """
    where, grid = _sources(rotation, x), x.shape[2:]
    turned = F.grid_sample(x, where, padding_mode="zeros", align_corners=False)
    # Σ w² of the eight trilinear weights (1−f, f per axis) is Π (1 − 2 f + 2 f²)
    size = torch.tensor(tuple(grid)[::-1]).to(x)
    fraction = (((where + 1) * size - 1) / 2).frac().abs()
    spread = (1 - 2 * fraction + 2 * fraction**2).prod(-1).sqrt()[:, None]
    return turned, spread
