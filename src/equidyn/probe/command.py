"""``equidyn measure`` and ``equidyn twirl``: options in, a folder of results out; return exit codes."""

import json
from pathlib import Path

from equidyn.errors import ArgumentError
from equidyn.files import exclusive
from equidyn.probe import averaging, identity, loading, networks, outputs, structures
from equidyn.probe.defaults import BATCH_SIZE, LIMIT_PERCENT
from equidyn.probe.measurement import measure_calculator
from equidyn.probe.poses import RANDOM
from equidyn.probe.progress import Progress
from equidyn.probe.records import Kept
from equidyn.probe.result import Result
from equidyn.symmetry import groups

LABELS = ("energy_key", "forces_key", "stress_key", "dipole_key")
SAME = (
    "rotations",
    "group",
    "quadrature",
    "special_poses",
    "seed",
    "limit",
    "cluster_key",
)  # what records of one folder share
CALCULATORS = ("calculator", "structures", "quantities", *LABELS, "limit", "cluster_key", "special_poses")
CALCULATORS += ("batch_size",)  # options that networks do not have
OF_NETWORKS = ("rotations", "group", "quadrature", "seed", "meant_equivariant", "name")
DEFAULTS = {"batch_size": BATCH_SIZE}  # of options that are neither off nor absent


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
    if model is not None:
        others = dict(calculator=calculator, structures=structures, quantities=quantities, **settings)
        _refuse_unused(others, CALCULATORS, "with --model")
        if data is None:
            raise ArgumentError("--model: a torch network needs --data, held-out items")
        out = _folder(out, model, settings)
        how = {key: settings[key] for key in OF_NETWORKS}
        how["limit_percent"] = LIMIT_PERCENT if limit is None else limit
        with exclusive(out, "measuring"):
            result = networks.result_of(model, data, checkpoints, arguments(kwargs), how, out)
            return _written(result, out, model, None, limit)
    _refuse_unused(dict(data=data, checkpoints=checkpoints), ("data", "checkpoints"), "without --model")
    if limit is not None:
        if not any(settings[key] for key in LABELS):
            raise ArgumentError(
                "--fail-above: a share of the loss needs reference labels, such as --forces-key"
            )
        settings["limit_percent"] = limit
    out = _folder(out, calculator, settings)
    with exclusive(out, "measuring"):
        result, frames = _calculator_result(calculator, kwargs, structures, quantities, out, settings)
        return _written(result, out, calculator, frames, limit)


def twirl(
    calculator: str | None,
    structures: str | None,
    out: Path | None,
    kwargs: str,
    quantities: str | None,
    tolerance: str,
    **settings,
) -> int:
    """Measure what averaging a calculator over rotations gains; ``settings`` as in ``measure``.

    Returns
    -------
    0

    Raises
    ------
    EquidynError
        bad input, as one paragraph
    """
    allowed = percent(tolerance, "--tolerance")
    if not any(settings[key] for key in LABELS):
        raise ArgumentError("twirl: the loss of an average needs reference labels, such as --forces-key")
    if not allowed:
        raise ArgumentError(f"--tolerance {tolerance!r}: expected more than 0 %")
    out = _folder(out, calculator, settings)
    with exclusive(out, "measuring"):
        result, frames = _calculator_result(calculator, kwargs, structures, quantities, out, settings)
        outputs.write_all(result, out, calculator.partition(":")[0].partition(".")[0], frames)
    lines = averaging.table(result, groups.CUBE_ORDER if settings["group"] == "cube" else None)
    averaging.to_csv(lines, out / "twirl.csv")
    print("\n".join(map(str, [*result.rows, *lines, *averaging.advice(result, allowed / 100)])))
    print(f"table: {out / 'twirl.csv'}")
    return 0


def _refuse_unused(given: dict, names: tuple[str, ...], what: str) -> None:
    """Options that would have no effect, unless they are at their defaults."""
    for name in names:
        if given[name] not in (None, False, DEFAULTS.get(name)):
            option = f"--{name.replace('_', '-')}"
            raise ArgumentError(f"{option} {given[name]}: has no effect {what}, expected to be left out")


def _folder(out: Path | None, spec: str | None, settings: dict) -> Path:
    """Where to write; the model gets its name."""
    if spec is None:
        raise ArgumentError(
            "expected a model and data: --calculator WHERE:NAME and --structures FILE, or --model and "
            "--data; equidyn measure --help has examples"
        )
    settings["name"] = settings.get("name") or spec.rpartition(":")[2]
    return Path(f"equidyn-{settings['name']}") if out is None else out


def _calculator_result(
    calculator: str, kwargs: str, structures_file: str | None, quantities: str | None, out: Path, settings
) -> tuple[Result, list]:
    """Measure a calculator, keeping records in ``out``; the result, and the structures that were read."""
    if structures_file is None:
        raise ArgumentError("expected structures, --structures FILE; equidyn measure --help has examples")
    path, given = Path(structures_file), arguments(kwargs)
    if quantities is not None:
        settings["quantities"] = tuple(name.strip() for name in quantities.split(","))
    with identity.opened() as opened, loading.users_code(calculator):
        made = loading.calculator(calculator, given)
    frames = structures.read(path)
    about = dict(calculator=calculator, kwargs=given, structures_sha256=identity.digest(path))
    key = {name: settings[name] for name in (*LABELS, *SAME)}
    key |= {"code": identity.code(calculator), "opened": opened, "quantities": quantities}
    key |= {"files": identity.named_files(given, out)}
    key |= {"versions": outputs.versions(calculator.partition(":")[0].partition(".")[0])}
    kept = Kept(out / "items.jsonl", about | key)
    before = sum(not record.failed for record in kept.found.values())
    done = f", {before} of them done before" if before else ""
    n = min(len(frames), settings["limit"] or len(frames))
    random = settings["quadrature"] == RANDOM
    each = f"{settings['rotations']} orientations" if random else f"those of {settings['quadrature']}"
    size = f"{n} of {len(frames)} structures, {each} each{done}"
    print(f"{settings['name']}: {size}", flush=True)
    result = measure_calculator(made, frames, progress=Progress(), records=kept, **settings)
    result.about |= about | dict(structures_file=str(path))
    return result, frames


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


def percent(text: str | None, option: str = "--fail-above") -> float | None:
    """A number of percent, with or without its sign.

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
        raise ArgumentError(f"{option} {text!r}: expected a percentage such as 2%") from error
    if not 0 <= found <= 100:
        raise ArgumentError(f"{option} {text!r}: expected 0 to 100 %")
    return found
