"""Groups of runs written out: the product of a group's axes."""

import itertools
import json
import re
from decimal import Decimal

from equidyn.config.resolve import merge, overridden
from equidyn.errors import ConfigError

WATCHED = {"training.n_checkpoints", "training.checkpoints_from", "training.log_every"}  # and not trained by


def expand(config: dict) -> tuple[dict, dict]:
    """The config with the runs of ``matrix`` written out, and what each of them stands for.

    A group of the matrix is ``{base, axes, reference}``: one run per element of the product of its axes,
    ``base`` with each axis's dotted key set, named ``<group>-<value>[-<value>…]``. ``reference`` names a run
    that counts as one more point; without it the group's first point takes its place. What else than the axes
    differs from the reference is told, and for replicates refused. Points are kept out of the runs, so that a
    further value changes the settings of no other run.

    Returns
    -------
    config : without ``matrix``, all runs in ``runs``; nothing is changed in place
    points : {run: {group, axes: {dotted key: value}, reference, reference_axes: {dotted key: value, None
        where the reference does not set it}, besides: {dotted key: [own value, that of the reference]}}}

    Raises
    ------
    ConfigError
        two runs of one name, an axis without values, a reference that is no run or has another task than
        the group, or one of other settings whose replicates the group says it is; points that are measured
        otherwise than their reference, or trained as another point or the reference are
    """
    runs, points = dict(config.get("runs", {})), {}
    for group, content in config.get("matrix", {}).items():
        _write_out(group, content, runs, points)
    result = {**{key: value for key, value in config.items() if key != "matrix"}, "runs": runs}
    for name, point in points.items():
        _check_reference(point, name, runs)
        settings = overridden(result, point["reference"])
        point["reference_axes"] = {axis: _value(settings, axis) for axis in point["axes"]}
        point["besides"] = _besides(overridden(result, name), settings, point["axes"])
        _check_replicates(point)
        _check_measured(point, name, overridden(result, name), settings)
    _check_once(result, points)
    return result, points


def _write_out(group: str, content: dict, runs: dict, points: dict) -> None:
    """Add the runs of a group to ``runs``, and to ``points`` the group, axes and reference of each."""
    for axis, values in content["axes"].items():
        if not values:
            raise ConfigError(f"config, matrix.{group}.axes.{axis}: no values")
    members = []
    for values in itertools.product(*content["axes"].values()):
        axes = dict(zip(content["axes"], values))
        name = "-".join([group, *map(_readable, values)])
        if name in runs:
            owner = f"matrix.{points[name]['group']}" if name in points else "runs"
            raise ConfigError(f"config, matrix.{group}: the run {name!r} of {axes} exists already in {owner}")
        runs[name] = merge(content["base"], *(_nested(axis, value) for axis, value in axes.items()))
        points[name] = {"group": group, "axes": axes}
        members.append(name)
    for name in members:
        points[name]["reference"] = content.get("reference", members[0])


def _check_reference(point: dict, name: str, runs: dict) -> None:
    """That the reference of a run is one, and of its task."""
    reference = point["reference"]
    if reference not in runs:
        raise ConfigError(
            f"config, matrix.{point['group']}.reference: {reference!r}, expected one of {sorted(runs)}"
        )
    task, own = runs[reference].get("task"), runs[name].get("task")
    if task != own:
        raise ConfigError(
            f"config, matrix.{point['group']}: base.task is {own!r}, expected {task!r}, the task of its "
            f"reference {reference!r}"
        )


def _check_replicates(point: dict) -> None:
    """That runs which differ from their reference by the seed differ by nothing else."""
    if set(point["axes"]) <= {"seed"} and point["besides"]:
        others = ", ".join(f"{key} {own} (there {its})" for key, (own, its) in point["besides"].items())
        raise ConfigError(
            f"config, matrix.{point['group']}: replicates of {point['reference']!r} with {others}, expected "
            "its own settings but for the seed"
        )


def _check_measured(point: dict, name: str, settings: dict, reference: dict) -> None:
    """That a point and its reference are measured alike: their percentages are compared."""
    own, theirs = (one.get("measure") for one in (settings, reference))
    if not (isinstance(own, dict) and isinstance(theirs, dict)):
        return  # none, or what the schema refuses by name
    own, theirs = ({k: v for k, v in one.items() if k != "batch_size"} for one in (own, theirs))
    if own != theirs:
        raise ConfigError(
            f"config, matrix.{point['group']}: {name} is measured by {own}, expected {theirs}, as its "
            f"reference {point['reference']!r} is"
        )


def _check_once(config: dict, points: dict) -> None:
    """That no training is there twice among the points around a reference: it would count as another seed."""
    references = dict.fromkeys(point["reference"] for point in points.values())
    around = [(name, name) for name in references] + [(p["reference"], name) for name, p in points.items()]
    seen: dict[tuple, str] = {}
    for reference, name in around:
        trained = json.dumps(_trained(overridden(config, name)), sort_keys=True, default=str)
        other = seen.setdefault((reference, trained), name)
        if other != name:
            raise ConfigError(
                f"config, matrix.{points[name]['group']}: {name} is trained as {other} is (seed "
                f"{overridden(config, name)['seed']}), expected another seed or setting: it would count twice"
            )


def _besides(settings: dict, reference: dict, axes: dict) -> dict[str, list]:
    """{dotted key: [value, that of the reference]} of what else than the axes differs."""
    own, theirs = _trained(settings), _trained(reference)
    different = [key for key in sorted(own.keys() | theirs.keys()) if own.get(key) != theirs.get(key)]
    return {
        key: [own.get(key), theirs.get(key)]
        for key in different
        if not any(f"{key}.".startswith(f"{axis}.") for axis in axes)
    }


def _trained(settings: dict) -> dict:
    """{dotted key: value} of what the weights of a run depend on."""
    flat = _flat({key: settings[key] for key in ("dataset", "model", "training", "seed") if key in settings})
    return {key: value for key, value in flat.items() if key not in WATCHED}


def _flat(settings: dict, before: str = "") -> dict:
    """{dotted key: value} of nested settings."""
    flat: dict = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{before}{key}.") if isinstance(value, dict) else {f"{before}{key}": value}
    return flat


def members_of(comparison: dict) -> list[str]:
    """The runs that an entry of ``comparisons`` names, the agnostic one first."""
    return [comparison["agnostic"], *comparison["equivariant"], *comparison.get("between", [])]


def _readable(value) -> str:
    """A value as part of a run's name: 1e-3 is 0.001, and what a name may not hold becomes a hyphen."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        value = f"{Decimal(repr(value)):f}".removesuffix(".0")
    return re.sub(r"[^A-Za-z0-9.-]+", "-", str(value))


def _nested(path: str, value) -> dict:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def _value(settings, path: str):
    for key in path.split("."):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings
