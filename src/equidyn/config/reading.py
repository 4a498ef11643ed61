"""Config files as dictionaries, in which no key stands twice: YAML's readers keep the last one in silence."""

import json
from pathlib import Path

from equidyn.errors import ConfigError, optional_packages

with optional_packages():
    import yaml


class _Once(yaml.SafeLoader):
    """Reads mappings of distinct keys; of these a merge (``<<``) may still override some."""

    def compose_mapping_node(self, anchor):
        """PyYAML's, with ConfigError where a key recurs."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple, int] = {}
        for key, _ in node.value:
            line, name = key.start_mark.line + 1, (key.tag, str(key.value))
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if name in lines:
                found = f"key {key.value!r}, which line {lines[name]} has too"
                raise ConfigError(f"{self.name}, line {line}: {found}, expected once")
            lines[name] = line
        return node


def _once(pairs: list[tuple[str, object]]) -> dict:
    """A mapping of a JSON file."""
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"keys {twice} more than once, expected once")
    return dict(pairs)


def read(path: str | Path) -> dict:
    """A config as its file has it, YAML or JSON.

    Raises
    ------
    ConfigError
        a key that stands twice in one place, neither of the two formats
    """
    with open(path, encoding="utf-8") as file:
        try:
            return yaml.load(file, _Once)  # noqa: S506 - it is a safe loader
        except yaml.YAMLError as error:
            found = error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: {error}, expected UTF-8") from error
        file.seek(0)
        try:
            return json.load(file, object_pairs_hook=_once)  # with tabs, which YAML does not take
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        except ValueError:
            raise ConfigError(f"{path}: expected YAML or JSON, found {found}") from found
