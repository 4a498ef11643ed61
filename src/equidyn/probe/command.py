"""``equidyn measure``: options in, a folder of results out; returns the exit code."""

import glob
import hashlib
import json
import re
import sys
from pathlib import Path

import torch

from equidyn.errors import ArgumentError
from equidyn.files import exclusive
from equidyn.probe import loading, outputs, structures
from equidyn.probe.measurement import measure_calculator
from equidyn.probe.models import HeldOut
from equidyn.probe.models import measure as measure_model
from equidyn.probe.progress import Progress
from equidyn.probe.records import Kept
from equidyn.probe.result import Result

LABELS = ("energy_key", "forces_key", "stress_key", "dipole_key")


def measure(
    calculator: str | None,
    structures: str | None,
    model: str | None,
    data: str | None,
    checkpoints: str | None,
    out: Path | None,
    kwargs: str,
    fail_above: str | None,
    quantities: str | None,
    **settings,
) -> int:
    """Measure an ASE calculator or a torch model; ``settings`` are those of ``measure_calculator``.

    Returns
    -------
    0, or 1 where ``fail_above`` is given and not every share is shown to be at most that

    Raises
    ------
    EquidynError
        bad input, as one paragraph
    """
    limit = percent(fail_above)
    if model is not None and data is not None and calculator is None:
        how = {key: settings[key] for key in ("rotations", "group", "seed", "meant_equivariant")}
        name = settings["name"] or model.rpartition(":")[2]
        out = Path(f"equidyn-{name}") if out is None else out
        with exclusive(out, "measuring"):
            result = _model_result(model, data, checkpoints, arguments(kwargs), name, how, limit)
            return _written(result, out, model, None, limit)
    if calculator is None or structures is None or model is not None:
        raise ArgumentError(
            "expected a model and data: --calculator WHERE:NAME and --structures FILE, or --model and "
            "--data; equidyn measure --help has examples"
        )
    if limit is not None:
        if not any(settings[key] for key in LABELS):
            raise ArgumentError(
                "--fail-above: a share of the loss needs reference labels, such as --forces-key"
            )
        settings["limit_percent"] = limit
    if quantities is not None:
        settings["quantities"] = tuple(name.strip() for name in quantities.split(","))
    made = loading.calculator(calculator, arguments(kwargs))
    settings["name"] = settings.get("name") or calculator.rpartition(":")[2]
    out = Path(f"equidyn-{settings['name']}") if out is None else out
    with exclusive(out, "measuring"):
        return _measured(made, calculator, kwargs, Path(structures), out, limit, settings)


def _measured(made, calculator: str, kwargs: str, path: Path, out: Path, limit, settings: dict) -> int:
    frames = structures.read(path)
    same = ("energy_key", "forces_key", "stress_key", "dipole_key", "rotations", "group", "seed", "limit")
    key = {name: settings[name] for name in (*same, "cluster_key")}
    key |= dict(calculator=calculator, kwargs=arguments(kwargs), code=_code(calculator))
    key |= dict(structures=_digest(path), quantities=settings.get("quantities"))
    kept = Kept(out / "items.jsonl", key)
    done = f", {len(kept.found)} of them done before" if kept.found else ""
    n = min(len(frames), settings["limit"] or len(frames))
    size = f"{n} of {len(frames)} structures, {settings['rotations']} orientations each{done}"
    print(f"{settings['name']}: {size}", flush=True)
    result = measure_calculator(made, frames, progress=Progress(), records=kept, **settings)
    result.about |= dict(calculator=calculator, kwargs=arguments(kwargs), structures_file=str(path))
    result.about |= dict(structures_sha256=_digest(path))
    return _written(result, out, calculator, frames, limit)


def _model_result(
    model: str, data: str, checkpoints: str | None, kwargs: dict, name: str, how, limit
) -> Result:
    """A row for the model, or one for each of its checkpoints."""
    heldout = loading.called(data, {}, lambda one: isinstance(one, HeldOut), "an equidyn.HeldOut")
    how |= dict(name=name, limit_percent=2.0 if limit is None else limit)
    if checkpoints is None:
        made = loading.called(model, kwargs, lambda one: isinstance(one, torch.nn.Module), "a torch module")
        result = measure_model(made, heldout, **how)
    else:
        parts = []
        for step, path in checkpoints_of(checkpoints):
            made = loading.named(model)(path, **kwargs)
            parts.append(measure_model(made, heldout, step=step, **how))
            print(f"{path}: measured", file=sys.stderr, flush=True)
        result = Result([part.rows[0] for part in parts], parts[-1].records, parts[-1].notes, parts[-1].about)
    result.about |= dict(model=model, data=data, kwargs=kwargs, checkpoints=checkpoints)
    return result


def checkpoints_of(pattern: str) -> list[tuple[int, str]]:
    """(step, path) of files, by step: the last number in a name, or the place in the alphabet where a name
    has none.

    Raises
    ------
    ArgumentError
        no such file
    """
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise ArgumentError(f"--checkpoints {pattern!r}: no such file, expected at least one")
    numbers = [re.findall(r"\d+", Path(path).stem) for path in paths]
    return sorted(
        (int(found[-1]) if found else n, path) for n, (found, path) in enumerate(zip(numbers, paths))
    )


def _written(result: Result, out: Path, spec: str, frames: list | None, limit: float | None) -> int:
    """Write the folder, print the lines; returns the exit code."""
    written = outputs.write_all(result, out, spec.partition(":")[0].partition(".")[0], frames)
    print(result)
    print(f"page: {written[0]}   tables, figure: {out}")
    if limit is None or result.passes():
        return 0
    print(f"--fail-above {limit:g} %: not shown for every quantity and structure")
    return 1


def arguments(text: str) -> dict:
    """``--kwargs``.

    Raises
    ------
    ArgumentError
        text that is no JSON object
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ArgumentError(f"--kwargs {text!r}: {error}; expected JSON such as '{{\"a\": 1}}'") from error
    if not isinstance(found, dict):
        raise ArgumentError(f'--kwargs {text!r}: expected a JSON object such as \'{{"model": "small"}}\'')
    return found


def percent(text: str | None) -> float | None:
    """``--fail-above``: a number, with or without its sign.

    Examples
    --------
    >>> percent("2%"), percent("0.5"), percent(None)
    (2.0, 0.5, None)
    """
    if text is None:
        return None
    try:
        found = float(text.strip().removesuffix("%"))
    except ValueError as error:
        raise ArgumentError(f"--fail-above {text!r}: expected a percentage such as 2%") from error
    if not 0 <= found <= 100:
        raise ArgumentError(f"--fail-above {text!r}: expected 0 to 100 %")
    return found


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code(spec: str) -> str | None:
    """Digest of a file of the user's own, so that another model is not taken for the one before."""
    place = spec.rpartition(":")[0]
    return _digest(Path(place)) if place.endswith(".py") else None
