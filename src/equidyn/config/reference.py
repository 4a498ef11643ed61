"""What users and editors read of the typed models: the JSON schema and the tables of ``config/README.md``.

python -m equidyn.config.reference          # writes both, from the root of the repository
"""

import json
import re
from pathlib import Path

from pydantic import BaseModel

from equidyn.config.parse import keys_of
from equidyn.config.sections import (
    RUNS,
    SETTINGS,
    Comparison,
    Config,
    Dynamics,
    Group,
    Measure,
    Model,
    OutsideRun,
    OutsideSettings,
    RunKeys,
    Sample,
    Training,
)
from equidyn.config.sources import SOURCES, Box, Files, Outside, Source, SplitList

SCHEMA, README = Path("config/schema.json"), Path("config/README.md")
BEGIN, END = "<!-- keys of {}: python -m equidyn.config.reference -->", "<!-- end -->"
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
TYPES = {
    "integer": "integer",
    "number": "number",
    "boolean": "true, false",
    "string": "text",
    "object": "keys",
    "array": "list",
}


def schema() -> dict:
    """JSON schema of a config, as editors use it: names, types and bounds of keys. What a run needs beside
    its task's defaults, and what keys mean to each other, only ``validate`` checks.
    """
    top = Config.model_json_schema()
    definitions = top.setdefault("$defs", {})

    def reference(section: type[BaseModel], optional: bool = False) -> dict:
        """Where a section is defined; ``optional``: with keys that may all be missing."""
        found = section.model_json_schema()
        for name, inner in found.pop("$defs", {}).items():
            definitions.setdefault(name, inner)
        if optional:
            found["properties"] = {key: _optional(value) for key, value in found["properties"].items()}
            found["required"] = [key for key in found.get("required", []) if key in ("task", "dataset")]
        definitions[section.__name__] = found
        return {"$ref": f"#/$defs/{section.__name__}"}

    def by(key: str, sections: dict[str, type[BaseModel]], other: type[BaseModel], optional: bool) -> dict:
        """One section per value of a key, another one for other values."""
        otherwise = reference(other, optional)
        for name, section in sections.items():
            condition = {"properties": {key: {"const": name}}, "required": [key]}
            otherwise = {"if": condition, "then": reference(section, optional), "else": otherwise}
        return otherwise

    for key, section in (
        ("datasets", by("source", SOURCES, Outside, False)),
        ("runs", by("task", RUNS, OutsideRun, True)),
    ):
        (name,) = top["properties"][key].pop("patternProperties")
        top["properties"][key] |= {"propertyNames": {"pattern": name}, "additionalProperties": section}
    top["properties"]["defaults"]["properties"] = {
        task: reference(section, True) for task, section in SETTINGS.items()
    }
    top["properties"]["defaults"]["additionalProperties"] = reference(OutsideSettings, True)
    return _without_nulls(_partial_parts(top))


def _optional(value: dict) -> dict:
    """A section of a run or of defaults, in which any key may be missing."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return {**value, "$ref": f"#/$defs/{name}-partial"}
    return value


def _partial_parts(top: dict) -> dict:
    """Definitions of the parts that ``_optional`` names: the same without required keys."""
    named = set(re.findall(r"#/\$defs/(\w+)-partial", json.dumps(top)))
    for name in sorted(named):
        whole = top["$defs"][name]
        top["$defs"][f"{name}-partial"] = {key: value for key, value in whole.items() if key != "required"}
    return top


def _without_nulls(part):
    """Keys that may be left out have no default; an explicit null is refused."""
    if isinstance(part, dict):
        absent = "default" in part and part["default"] is None
        return {
            key: _without_nulls(value) for key, value in part.items() if not (absent and key == "default")
        }
    return [_without_nulls(value) for value in part] if isinstance(part, list) else part


def table(*sections: type[BaseModel], without: tuple[str, ...] = ()) -> str:
    """Keys of one section, of further ones those that the first has not: values, default and meaning."""
    lines, seen = ["| key | value | default | meaning |", "|---|---|---|---|"], dict.fromkeys(without)
    for section in sections:
        properties = section.model_json_schema()["properties"]
        for key, field in keys_of(section).items():
            told = (key, field.description)
            if key in without or told in seen or (field.description or "see").startswith("see "):
                continue
            seen[told] = None
            default = "" if field.is_required() else "may be absent"
            if not field.is_required() and field.default is not None:
                default = f"`{json.dumps(field.default)}`"
            lines.append(f"| `{key}` | {_value(properties[key])} | {default} | {field.description} |")
    return "\n".join(lines)


def _value(found: dict) -> str:
    """Type and bounds in a few signs."""
    if "enum" in found:
        return ", ".join(f"`{value}`" for value in found["enum"])
    if "const" in found:
        return f"`{found['const']}`"
    if "$ref" in found:
        return "keys"
    if found.get("type") == "array":
        inner = found.get("items", {})
        return "list of " + _value(inner).replace("text", "texts").replace("number", "numbers")
    words = [TYPES.get(found.get("type"), "any")]
    words += [pattern.format(found[key]) for key, pattern in BOUNDS.items() if key in found]
    return " ".join(words)


def tables() -> dict[str, str]:
    """The tables of the README, by the name that stands in their comment."""
    found = {
        "the top level": table(Config),
        "a run": table(RunKeys),
        "model": table(Model),
        "training": table(Training),
        "measure": table(Measure),
        "sample": table(Sample),
        "dynamics": table(Dynamics),
        "matrix": table(Group),
        "comparisons": table(Comparison),
        "every dataset": table(Source),
        "files": table(Files, without=tuple(keys_of(Source))[:1]),
        "voxels of a dataset": table(Box),
        "split_list": table(SplitList),
    }
    for task, settings in SETTINGS.items():
        for part, common in (("training", Training), ("measure", Measure)):
            section = settings.model_fields[part].annotation
            if section is not common:
                found[f"{part}, {task}"] = table(section, without=_same(section, common))
    for section in dict.fromkeys((*SOURCES.values(), Outside)):
        base = Files if issubclass(section, Files) else Source
        names = [name for name, other in SOURCES.items() if other is section] or ["a reader of extensions"]
        found[" and ".join(names)] = table(section, without=("source", *_same(section, base)))
    return found


def _same(section: type[BaseModel], base: type[BaseModel]) -> tuple[str, ...]:
    """Keys that a section has as its base has them."""
    mine, theirs = keys_of(section), keys_of(base)
    return tuple(k for k in theirs if k in mine and mine[k].description == theirs[k].description)


def filled(page: str) -> str:
    """The page with every marked table written anew.

    Raises
    ------
    KeyError
        a mark of no table
    """
    made = tables()

    def replaced(match: re.Match) -> str:
        return f"{match[1]}\n{made[match[2]]}\n{END}"

    mark = re.escape(BEGIN).replace(r"\{\}", "([^:]+?)")
    return re.sub(f"({mark})\n.*?{re.escape(END)}", replaced, page, flags=re.S)


def schema_text() -> str:
    """The schema as its file holds it, a definition a line."""
    found = schema()
    definitions = [f"  {json.dumps(k)}: {_line(v)}" for k, v in sorted(found.pop("$defs").items())]
    keys = [f" {json.dumps(key)}: {_line(value)}" for key, value in sorted(found.items())]
    return "{\n" + ",\n".join([*keys, ' "$defs": {\n' + ",\n".join(definitions) + "\n }"]) + "\n}\n"


def _line(value) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
    README.write_text(filled(README.read_text()))
