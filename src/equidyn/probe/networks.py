"""Torch models of the command ``equidyn measure``: one as it is, or all checkpoints of a training run."""

import glob
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from equidyn.errors import ArgumentError, DataError, EquidynError
from equidyn.probe import identity, loading, outputs
from equidyn.probe.heldout import HeldOut
from equidyn.probe.models import measure
from equidyn.probe.records import Kept, read_records, settings_of, write_records
from equidyn.probe.result import Result
from equidyn.probe.rows import Row
from equidyn.probe.verdicts import verdict

ITEMS, CHECKPOINTS = "items.jsonl", "checkpoints.jsonl"


@dataclass
class Checkpoint:
    """What is kept of one measured file, found again by its digest: row, notes and ``Result.about``, or why
    there are none.
    """

    sha256: str
    row: dict
    notes: list[str]
    about: dict
    failed: str = ""


def result_of(model: str, data: str, pattern: str | None, kwargs: dict, how: dict, out: Path) -> Result:
    """A row for the model, or one for each of its checkpoints.

    Records of the items, of checkpoints those of the last, are left in ``out``; so is the row of each
    checkpoint, and measured again only where it is missing or the file has changed.

    Parameters
    ----------
    how : settings of ``models.measure``

    Raises
    ------
    DataError
        records of another command in ``out``; a model that fails, or fails on all checkpoints
    ArgumentError
        names and arguments that do not fit
    """
    about = dict(model=model, data=data, kwargs=kwargs)
    found = [] if pattern is None else checkpoints_of(pattern)
    _refuse_others(out, pattern)
    with loading.users_code(data):
        heldout = loading.called(data, {}, lambda one: isinstance(one, HeldOut), "an equidyn.HeldOut")
    about |= dict(data_sha256=heldout.sha256())
    if pattern is None:
        with loading.users_code(model):
            made = loading.called(model, kwargs, _is_module, "a torch module or a callable", callable)
            result = measure(made, heldout, **how)
        write_records(out / ITEMS, about, result.records)
    else:
        with loading.users_code(model):
            load = loading.named(model)
        asked = {key: how[key] for key in ("rotations", "group", "quadrature", "seed")}
        asked |= dict(code=identity.code(model) | identity.code(data))
        asked |= dict(files=identity.named_files(kwargs, out), versions=outputs.versions(_package(model)))
        kept = Kept(out / CHECKPOINTS, about | asked, Checkpoint, "sha256")
        result = _of_all(found, load, kwargs, heldout, how, kept)
    result.about |= about | dict(checkpoints=pattern)
    return result


def _package(spec: str) -> str:
    return spec.partition(":")[0].partition(".")[0]


def _is_module(found: object) -> bool:
    return isinstance(found, torch.nn.Module)


def _refuse_others(out: Path, pattern: str | None) -> None:
    """Records of a calculator, or of checkpoints that are not asked for now, are not written over."""
    before = settings_of(out / ITEMS)
    if before is not None and "model" not in before and read_records(out / ITEMS):
        raise DataError(
            f"{out / ITEMS}: records of another command (calculator: {before.get('calculator')!r}, now "
            f"none); expected the same one, or another --out"
        )
    if pattern is None and settings_of(out / CHECKPOINTS) is not None:
        raise DataError(
            f"{out / CHECKPOINTS}: measured with --checkpoints before, expected it now, or another --out"
        )


def _of_all(found: list, load: Callable, kwargs: dict, heldout: HeldOut, how: dict, kept: Kept) -> Result:
    """A row for each checkpoint; one that fails is left out, with a note and the traceback on stderr."""
    items, rows, last, failed = kept.path.with_name(ITEMS), [], None, {}
    for step, path in found:
        sha256 = identity.named_files(path, items.parent).get(path, path)  # some are folders
        one = kept.found.get(sha256)
        if one is None or one.failed:
            one = _one(path, sha256, load, kwargs, heldout, how, kept)
        if one.failed:
            failed[path] = one.failed
            continue
        rows.append(_row(one, step, how))
        last = path, one
    if last is None:
        path, why = next(iter(failed.items()))
        raise DataError(f"none of {len(found)} checkpoints could be measured; the first, {path}: {why}")
    path, one = last
    if (settings_of(items) or {}).get("checkpoint") != one.sha256:
        _one(path, one.sha256, load, kwargs, heldout, how, kept)
    notes = [f"{path}: left out, as the model failed: {why}" for path, why in failed.items()]
    return Result(rows, read_records(items), one.notes + notes, one.about | dict(failed=failed))


def _one(path: str, sha256: str, load, kwargs: dict, heldout: HeldOut, how: dict, kept: Kept) -> Checkpoint:
    """Measure one checkpoint and keep what was found; the items' records take the place of others'."""
    try:
        with loading.users_code(path):
            made = load(path, **kwargs)
            if not callable(made):
                raise ArgumentError(f"made a {type(made).__name__}, expected a torch module or a callable")
            result = measure(made, heldout, **how)
    except (EquidynError, OSError, ModuleNotFoundError) as error:
        one = Checkpoint(sha256, {}, [], {}, str(error).removeprefix(f"{path}: "))
        print(f"{path}: {one.failed}", file=sys.stderr, flush=True)
    else:
        one = Checkpoint(sha256, asdict(result.rows[0]), result.notes, result.about)
        print(f"{path}: measured", file=sys.stderr, flush=True)
        write_records(kept.path.with_name(ITEMS), kept.settings | dict(checkpoint=sha256), result.records)
    kept.add(one)
    return one


def _row(one: Checkpoint, step: int, how: dict) -> Row:
    """As it would be measured now: what does not change the numbers is not among the settings."""
    found = verdict(one.row, how["limit_percent"], how["meant_equivariant"])
    return replace(Row(**one.row), step=step, run=how["name"], verdict=found)


def checkpoints_of(pattern: str) -> list[tuple[int, str]]:
    """(step, path) of files, by step: the number behind `step` in a name, else that behind `epoch`, else the
    only one; a name without any, such as `last`, comes at the end.

    Raises
    ------
    ArgumentError
        no such file, names with several numbers of which none is called step or epoch
    """
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise ArgumentError(f"--checkpoints {pattern!r}: no such file, expected at least one")
    stems = [Path(path).stem for path in paths]
    names = [r"step[=_-]?(\d+)", r"epoch[=_-]?(\d+)"]
    if not any(re.search("|".join(names), stem, re.IGNORECASE) for stem in stems):
        names = [r"(\d+)"]
    for named in names:
        numbers = [re.findall(named, stem, re.IGNORECASE) for stem in stems]
        counted = [found for stem, found in zip(stems, numbers) if re.search(r"\d", stem)]
        if counted and all(len(found) == 1 for found in counted):
            last = max(int(found[0]) for found in counted)
            steps = [int(found[0]) if found else last + 1 for found in numbers]
            return sorted(zip(steps, paths))
    if not any(re.search(r"\d", stem) for stem in stems):
        return list(enumerate(paths))
    raise ArgumentError(
        f"--checkpoints {pattern!r}: which number is the step of {', '.join(paths)[:300]}? Expected "
        f"step_N or epoch_N in every name that has numbers, or a single number"
    )
