"""``equidyn measure``: options in, a folder of results out; returns the exit code."""

import hashlib
import json
from pathlib import Path

from equidyn.errors import ArgumentError
from equidyn.files import exclusive
from equidyn.probe import loading, outputs, structures
from equidyn.probe.measurement import measure_calculator
from equidyn.probe.progress import Progress
from equidyn.probe.records import Kept

LABELS = ("energy_key", "forces_key", "stress_key", "dipole_key")


def measure(
    calculator: str | None,
    structures: str | None,
    out: Path | None,
    kwargs: str,
    fail_above: str | None,
    quantities: str | None,
    **settings,
) -> int:
    """Measure an ASE calculator; ``settings`` are those of ``measure_calculator``.

    Returns
    -------
    0, or 1 where ``fail_above`` is given and not every share is shown to be at most that

    Raises
    ------
    EquidynError
        bad input, as one paragraph
    """
    if calculator is None or structures is None:
        raise ArgumentError(
            "expected a model (--calculator WHERE:NAME) and structures (--structures FILE); "
            "equidyn measure --help has examples"
        )
    limit = percent(fail_above)
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
    written = outputs.write_all(result, out, calculator.partition(":")[0].partition(".")[0], frames)
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
