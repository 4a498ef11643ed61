"""A part of a config against its typed model; what is wrong as text: key, value found, what was expected."""

from collections.abc import Iterable
from difflib import get_close_matches

from equidyn.config.sections import Section
from equidyn.errors import ConfigError, optional_packages

with optional_packages():
    from pydantic import BaseModel, ValidationError

NEEDED = (("task",), ("dataset",))  # of a run, which no defaults have
AT_MOST = 8  # problems that one message lists
EXPECTED = {  # of pydantic's kinds of errors, with their contexts
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "finite_number": "a finite number",
    "literal_error": "one of {expected}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "text that is not empty",
    "too_short": "at least {min_length} entries, there are {actual_length}",
    "too_long": "at most {max_length} entries, there are {actual_length}",
}


def check(value, section: type[Section], place: str = "", partial: bool = False) -> None:
    """That ``value`` is such a section.

    Parameters
    ----------
    place : where in the config it stands, dotted; empty for the whole config
    partial : whether keys may be missing, as in what overrides defaults; a run must have NEEDED all the same

    Raises
    ------
    ConfigError
        up to eight problems, a line each
    """
    try:
        section.model_validate(value)
    except ValidationError as error:
        found = [e for e in error.errors() if not partial or e["type"] != "missing" or e["loc"] in NEEDED]
        if not found:
            return
        lines = list(dict.fromkeys(_line(one, section, place) for one in found))
        more = [f"and {len(lines) - AT_MOST} more"] if len(lines) > AT_MOST else []
        raise ConfigError("\n".join(lines[:AT_MOST] + more)) from None


def _line(error: dict, section: type[Section], place: str) -> str:
    *parents, last = error["loc"] or ("",)
    if error["type"] == "extra_forbidden":
        known = keys_of(_section_at(section, parents))
        return f"config, {_place(place, parents)}: {unknown_key(last, known)}"
    if error["type"] == "missing":
        meaning = _section_at(section, parents).model_fields
        what = next((f.description for n, f in meaning.items() if (f.alias or n) == last), None)
        told = f" ({what})" if what else ""
        return f"config, {_place(place, parents)}: no key {last!r}, expected one{told}"
    if last == "[key]":  # of a dictionary whose names are bound
        return f"config, {_place(place, parents[:-1])}: name {error['input']!r}, expected {_expected(error)}"
    return f"config, {_place(place, error['loc'])}: {error['input']!r}, expected {_expected(error)}"


def unknown_key(key: object, known: Iterable[str]) -> str:
    """That there is no such key, the nearest one, and all of them."""
    known = sorted(known)
    near = get_close_matches(str(key), known, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ";"
    return f"unknown key {key!r}{hint} known keys: {', '.join(known)}"


def _expected(error: dict) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    pattern = EXPECTED.get(error["type"])
    return error["msg"] if pattern is None else pattern.format(**error.get("ctx", {}))


def _place(place: str, path: Iterable) -> str:
    before = [place] if place else []
    return ".".join(before + [str(part) for part in path if part != ""]) or "top level"


def keys_of(section: type[BaseModel]) -> dict:
    """The fields of a section by the names that a config gives them."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _section_at(section: type[BaseModel], path: Iterable) -> type[BaseModel]:
    """The section that lies at a path within another, or the last one on the way."""
    for part in path:
        field = keys_of(section).get(part)
        if field is None:
            continue
        inner = [
            t for t in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(t, type)
        ]
        section = next((t for t in inner if issubclass(t, BaseModel)), section)
    return section
