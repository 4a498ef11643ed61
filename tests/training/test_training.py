import csv

import pytest
import torch
from common import TRAINING
from small_tasks import small_flow, small_voxels

from equidyn import errors
from equidyn.errors import DataError
from equidyn.models import registry
from equidyn.training import checkpoint, draws, loop
from equidyn.training.resume import Resume
from equidyn.training.trainer import Trainer, learning_rate


class Killed(BaseException):
    """Stands for SIGKILL: not caught by anything."""


class Dying:
    """A task whose training step dies at the given step."""

    def __init__(self, task, step):
        self.task, self.step, self.n_train, self.lengths = (
            task,
            step,
            task.n_train,
            getattr(task, "lengths", None),
        )

    def training_loss(self, model, items, seed):
        if self.step == 0:
            raise Killed
        self.step -= 1
        return self.task.training_loss(model, items, seed)


def train(task, out, settings=TRAINING, identity="a"):
    loop.train(
        registry.build("escaip", "tiny", 0, dropout=0.1),
        task,
        settings,
        out,
        identity,
        seed=0,
        resume_every=0.0,
    )
    return checkpoint.load(out / "model.pt"), (out / "metrics.csv").read_text()


def equal(a, b):
    return all(torch.equal(a[w][k], b[w][k]) for w in ("live", "ema") for k in a[w])


@pytest.mark.parametrize("at", [1, 5, 11])
def test_restart_equals_straight_run_bit_for_bit(task, tmp_path, at):
    straight, metrics = train(task, tmp_path / "straight")
    with pytest.raises(Killed):
        train(Dying(task, at), tmp_path / "killed")
    again, metrics_again = train(task, tmp_path / "killed")
    assert equal(straight, again) and metrics == metrics_again
    names = sorted(p.name for p in (tmp_path / "straight/checkpoints").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "killed/checkpoints").iterdir())
    assert [
        checkpoint.load(tmp_path / "killed/checkpoints" / n)["step"] for n in names
    ] == checkpoint.steps_of(dict(steps=12, n_checkpoints=4))
    assert not (tmp_path / "killed/resume/state.pt").exists()


@pytest.mark.parametrize(
    "change", [dict(optimizer="sgd"), dict(optimizer="muon"), dict(eps=0.0, betas=[0.99, 0.999])]
)
def test_restart_equals_straight_run_for_the_other_optimizers(change, task, tmp_path):
    settings = {**TRAINING, **change}
    straight, metrics = train(task, tmp_path / "straight", settings)
    with pytest.raises(Killed):
        train(Dying(task, 5), tmp_path / "killed", settings)
    again, metrics_again = train(task, tmp_path / "killed", settings)
    assert equal(straight, again) and metrics == metrics_again
    assert not equal(straight, train(task, tmp_path / "adamw")[0])


class Normed(torch.nn.Module):
    """A network with running statistics."""

    def __init__(self):
        super().__init__()
        self.norm, self.out = torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)

    def forward(self, x):
        return self.out(self.norm(x))


def test_averaged_weights_have_the_running_statistics(tmp_path):
    class Task:
        n_train = 20

        def training_loss(self, model, items, seed):
            x = 5 + torch.randn(len(items), 3, generator=torch.Generator().manual_seed(seed % 1000))
            return model(x).square().mean(), {}

    loop.train(Normed(), Task(), TRAINING, tmp_path, "a", 0)
    saved = checkpoint.load(tmp_path / "model.pt")
    assert saved["live"]["norm.running_mean"].mean() > 1
    for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(saved["ema"][name], saved["live"][name])
    assert not torch.equal(saved["ema"]["out.weight"], saved["live"]["out.weight"])


@pytest.mark.parametrize("make", [small_voxels, small_flow])
def test_restart_equals_straight_run_for_the_other_tasks(make, tmp_path):
    task, architecture, training = make(tmp_path)

    def run(task, name):
        loop.train(
            registry.build(architecture, "tiny", 0),
            task,
            training,
            tmp_path / name,
            "a",
            seed=0,
            resume_every=0.0,
        )
        return checkpoint.load(tmp_path / name / "model.pt")

    straight = run(task, "straight")
    with pytest.raises(Killed):
        run(Dying(task, 5), "killed")
    assert equal(straight, run(task, "killed"))


def test_resume_state_of_another_identity_is_discarded(task, tmp_path):
    with pytest.raises(Killed):
        train(Dying(task, 6), tmp_path / "run")
    other = {**TRAINING, "lr": 1e-3}
    resumed, _ = train(task, tmp_path / "run", other, identity="b")
    straight, _ = train(task, tmp_path / "fresh", other, identity="b")
    assert equal(resumed, straight)


def test_divergence_is_an_error_that_names_the_step(task, tmp_path):
    task.force_scale = float("nan")
    with pytest.raises(errors.TrainingError, match="step 0: loss nan"):
        train(task, tmp_path / "run")
    assert not (tmp_path / "run/model.pt").exists()


def test_truncated_checkpoint(task, tmp_path):
    checkpoint.save(tmp_path / "c.pt", {"a": torch.zeros(1000)})
    whole = (tmp_path / "c.pt").read_bytes()
    (tmp_path / "c.pt").write_bytes(whole[:200])
    with pytest.raises(DataError, match="c.pt.*truncated"):
        checkpoint.load(tmp_path / "c.pt")


def test_training_lowers_the_loss(task, tmp_path):
    _, metrics = train(task, tmp_path / "run", {**TRAINING, "steps": 60, "log_every": 1})
    losses = [float(r["loss"]) for r in csv.DictReader(metrics.splitlines())]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:3]) / 3 * 10


def test_batches_of_similar_length_still_visit_every_item_once_an_epoch():
    lengths = torch.arange(500).numpy() % 97 + 30
    batches = [draws.batch_items(step, 500, 8, 3, lengths) for step in range(62)]
    assert len(set(torch.cat(batches).tolist())) == 496
    plain = [draws.batch_items(step, 500, 8, 3) for step in range(62)]
    padding = [sum(lengths[b].max() * len(b) - lengths[b].sum() for b in found) for found in (batches, plain)]
    assert padding[0] < 0.25 * padding[1]
    assert not torch.equal(
        draws.batch_items(62, 500, 8, 3, lengths), batches[0]
    )  # the next epoch is another permutation


def test_other_seeds_have_other_batches_and_other_draws():
    """Replicates would be one run otherwise; no step of one has the draws of a step of another."""
    batches = [draws.batch_items(0, 40, 8, seed) for seed in (0, 1)]
    assert not torch.equal(*batches)
    found = [{draws.step_seed(seed, step) for step in range(5000)} for seed in range(3)]
    assert len(set.union(*found)) == 15_000


def test_the_learning_rate_rises_in_a_line_and_falls_in_a_cosine():
    settings = dict(lr=2.0, warmup=4, steps=24, final_lr_fraction=0.1)
    rates = [learning_rate(step, settings) for step in range(25)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[14] == pytest.approx(2 * (1 + 0.1) / 2) and rates[24] == pytest.approx(0.2)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert learning_rate(30, settings) == rates[24]  # and stays there


class Line:
    """A task of one part: the mean square of a linear map's output."""

    n_train = 8

    def training_loss(self, model, items, seed):
        assert model.training
        return model(torch.ones(len(items), 3)).square().mean(), {}


def line_trainer(**settings):
    """A linear map, and what trains it by plain gradients without decay."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    settings = {**TRAINING, "optimizer": "sgd", "weight_decay": 0.0, "warmup": 4, "steps": 24, **settings}
    return model, Trainer(model, Line(), settings, 0, "line")


def test_averaged_weights_are_those_of_the_steps_that_the_setting_says():
    """The decay begins with (1 + step) / (10 + step) and ends at ``ema``."""
    model, trainer = line_trainer(ema=0.5)
    expected = model.weight.detach().clone()
    for step in range(14):
        trainer.advance(step, draws.parts_of(Line(), torch.arange(4), step))
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    assert torch.allclose(trainer.ema.weight, expected, rtol=1e-5)
    assert not torch.allclose(trainer.ema.weight, model.weight, rtol=1e-3)


def test_gradients_are_clipped_at_their_norm_and_steps_have_their_rate():
    for clip in (1e-3, 1e9):
        model, trainer = line_trainer(clip=clip)
        for step in range(3):
            row = trainer.advance(step, draws.parts_of(Line(), torch.arange(4), step))
            norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()
            assert row["gradient_norm"] > 0.1 and norm == pytest.approx(min(clip, row["gradient_norm"]))
            rate = learning_rate(step, trainer.settings)
            assert row["lr"] == rate and {g["lr"] for g in trainer.optimizer.param_groups} == {rate}


def test_checkpoints_hold_the_weights_that_were_trained_and_their_average(task, tmp_path):
    model = registry.build("escaip", "tiny", 0)
    loop.train(model, task, TRAINING, tmp_path, "a", seed=0)
    for path in (tmp_path / "model.pt", tmp_path / "checkpoints" / "step_12.pt"):
        found = checkpoint.load(path)
        assert all(torch.equal(found["live"][name], value) for name, value in model.state_dict().items())
        assert not all(torch.equal(found["ema"][name], value) for name, value in found["live"].items())


def test_dropout_is_on_while_training(task, tmp_path):
    modes = []

    class Seen(Logging):
        def training_loss(self, model, items, seed):
            modes.append([module.training for module in model.modules()])
            return self.task.training_loss(model, items, seed)

    train(Seen(task), tmp_path, {**TRAINING, "steps": 2, "n_checkpoints": 2})
    assert len(modes) == 2 and all(map(all, modes))


def test_log_spacing():
    steps = checkpoint.steps_of(dict(steps=1200, n_checkpoints=13))
    assert steps[0] == 0 and steps[-1] == 1200 and steps == sorted(set(steps)) and len(steps) <= 13
    assert checkpoint.steps_of(dict(steps=1000, n_checkpoints=5)) == [0, 22, 90, 309, 1000]
    later = checkpoint.steps_of(dict(steps=1000, n_checkpoints=5, checkpoints_from=90))
    assert later[0] == 90 and later[-1] == 1000 and len(later) == 5


@pytest.mark.parametrize("micro_batch", [1, 3, 8, None])
def test_gradient_in_parts_is_that_of_the_whole_batch(micro_batch):
    """A loss that is a mean over items; parts never share a seed."""
    x, seeds = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), []

    class Task:
        def training_loss(self, model, items, seed):
            seeds.append(seed)
            loss = model(x[items]).square().mean()
            return loss, {"same": loss.item()}

    model, items = torch.nn.Linear(5, 1).double(), torch.arange(8)
    expected_loss = model(x[items]).square().mean()
    (expected,) = torch.autograd.grad(expected_loss, model.weight)
    settings = {**TRAINING, "optimizer": "sgd", "clip": 1e9, "log_every": 1}
    trainer = Trainer(model, Task(), settings, 0, "parts")
    row = trainer.advance(0, draws.parts_of(Task(), items, 7, micro_batch))
    assert torch.allclose(model.weight.grad, expected, rtol=1e-12)
    assert row["loss"] == row["same"] == pytest.approx(expected_loss.item())
    assert len(set(seeds)) == len(seeds) == -(-8 // (micro_batch or 8)) and seeds[0] == 7


def test_copies_are_the_rows_of_fewer_items_and_one_is_what_was():
    class Items:
        n_train = 40

    settings = {"batch_size": 12}
    one = draws.rows_of(2, Items(), settings, 0)
    assert torch.equal(one, draws.batch_items(2, 40, 12, 0))
    assert torch.equal(one, draws.rows_of(2, Items(), settings | {"copies": 1}, 0))
    four = draws.rows_of(2, Items(), settings | {"copies": 4}, 0)
    assert len(four) == 12 and torch.equal(four.reshape(3, 4), four[::4, None].expand(3, 4))
    epoch = torch.cat([draws.rows_of(step, Items(), settings | {"copies": 4}, 0)[::4] for step in range(13)])
    assert len(epoch.unique()) == 39  # the incomplete batch is dropped


@pytest.mark.parametrize("make", [small_voxels, small_flow])
def test_the_penalty_of_the_other_tasks_is_what_it_adds(make, tmp_path):
    task, architecture, _ = make(tmp_path)
    items, model = torch.arange(2), registry.build(architecture, "tiny", 0).eval()  # no dropout
    plain, log = task.training_loss(model, items, 3)
    task.settings["training"]["equivariance_penalty"] = 0.5
    loss, more = task.training_loss(model, items, 3)
    assert loss.item() == pytest.approx(plain.item() + 0.5 * more["equivariance"].item(), rel=1e-5)
    assert more["equivariance"] > 0 and more.items() > log.items()


@pytest.mark.parametrize("make", [small_voxels, small_flow])
def test_an_average_over_rotations_trains_a_smoother_network(make, tmp_path):
    task, architecture, _ = make(tmp_path)
    model = registry.build(architecture, "tiny", 0).eval()  # no dropout
    losses = {}
    for average in (1, 8):
        task.settings["training"]["average"] = average
        losses[average], _ = task.training_loss(model, torch.arange(2), 3)
    assert 0 < losses[8].item() < losses[1].item()
    losses[8].backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_only_the_first_process_clears_what_was_there(tmp_path):
    """Another would delete the checkpoint that the first one is writing."""
    model = torch.nn.Linear(2, 2)
    kept = tmp_path / "checkpoints" / "step_0.pt"
    kept.parent.mkdir()
    kept.touch()
    trainer, resume = Trainer(model, object(), TRAINING, 0, "run"), Resume(tmp_path, "a")
    resume.restore(trainer, clear=False)
    assert kept.exists()
    resume.restore(trainer, clear=True)
    assert not kept.exists()


def test_a_state_of_before_does_not_go_on_with_checkpoints_of_another(task, tmp_path):
    """A is killed, B is begun and killed before its first state, A is asked for again."""
    straight, metrics = train(task, tmp_path / "straight")
    with pytest.raises(Killed):
        train(Dying(task, 5), tmp_path / "a")
    with pytest.raises(Killed):  # resume states only far apart: B leaves none
        loop.train(registry.build("escaip", "tiny", 1), Dying(task, 5), TRAINING, tmp_path / "a", "b", 1)
    again, metrics_again = train(task, tmp_path / "a")
    assert equal(straight, again) and metrics == metrics_again
    for path in sorted((tmp_path / "straight/checkpoints").iterdir()):
        assert equal(checkpoint.load(path), checkpoint.load(tmp_path / "a/checkpoints" / path.name))


def test_without_hard_links_checkpoints_are_copied(task, tmp_path, monkeypatch):
    def refused(*arguments, **more):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    train(task, tmp_path)
    assert (
        len(list((tmp_path / "checkpoints").iterdir())) == 4 and not (tmp_path / "resume/state.pt").exists()
    )


class Logging:
    """A task that logs a value at some steps only."""

    def __init__(self, task):
        self.task, self.n_train, self.n = task, task.n_train, 0

    def training_loss(self, model, items, seed):
        loss, log = self.task.training_loss(model, items, seed)
        self.n += 1
        return loss, log | ({"late": torch.tensor(3.0)} if self.n > 5 else {})


def test_a_value_that_is_logged_at_some_steps_has_a_column(task, tmp_path):
    _, text = train(Logging(task), tmp_path)
    found = [row["late"] for row in csv.DictReader(text.splitlines())]
    assert found[0] == "" and found[-1] == "3.0"


def test_a_batch_that_there_are_too_few_items_for_is_refused(task, tmp_path):
    n = task.n_train
    with pytest.raises(errors.ConfigError, match=f"batch_size: {n + 1}, expected at most {n}"):
        train(task, tmp_path, {**TRAINING, "batch_size": n + 1})
    settings = {**TRAINING, "batch_size": 2 * n, "copies": 2, "augment": 1.0, "steps": 2, "n_checkpoints": 2}
    train(task, tmp_path, settings)
