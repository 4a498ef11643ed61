"""What the package and a config's extensions declare, as far as a config may name it."""

from equidyn.declarations import Model, Source, Task, figures, models, own_tasks, source_in, tasks
from equidyn.errors import ConfigError

OWN_SOURCES = (*dict.fromkeys(source for task in own_tasks().values() for source in task.sources), "turned")


def extensions_of(config: dict) -> tuple[str, ...]:
    """The files outside the package that a config names."""
    return tuple(config.get("extensions", []))


def declared_tasks(config: dict) -> dict[str, Task]:
    """The tasks of the package and of the config's ``extensions``, by name.

    Raises
    ------
    ConfigError
        see ``declarations.tasks``
    """
    return tasks(extensions_of(config))


def fitting_sources(config: dict, task: Task) -> list[str]:
    """Sources of datasets that a task may have: those that it states, else all of its kind, and those of its
    kind that extensions declare.
    """
    own = task.sources or [
        s for other in own_tasks().values() if other.kind == task.kind for s in other.sources
    ]
    outside = [s.name for s in declared_sources(config).values() if s.kind == task.kind]
    return [*own, *outside]


def declared_models(config: dict) -> dict[str, Model]:
    """The architectures of the package and of the config's ``extensions``, by name.

    Raises
    ------
    ConfigError
        see ``declarations.models``; a model of no task
    """
    known, of_tasks = models(extensions_of(config)), declared_tasks(config)
    for model in known.values():
        if model.task not in of_tasks:
            raise ConfigError(f"{model.file}: task {model.task!r}, expected one of {', '.join(of_tasks)}")
    return known


def declared_sources(config: dict) -> dict[str, Source]:
    """The sources of datasets that the config's ``extensions`` declare, by name.

    Raises
    ------
    ConfigError
        see ``declarations.source_in``; a name that another source has
    """
    known = {}
    for file in config.get("extensions", []):
        source = source_in(file)
        if source is None:
            continue
        if source.name in known or source.name in OWN_SOURCES:
            raise ConfigError(f"{file}: source {source.name!r}, expected another name: there is one")
        known[source.name] = source
    return known


def check_figures(config: dict) -> None:
    """A figure of an unknown task would be drawn nowhere, without a word.

    Raises
    ------
    ConfigError
    """
    known, all_figures = declared_tasks(config), figures(extensions_of(config))
    on_request = sorted({figure.name for figure in all_figures if figure.on_request})
    if unknown := sorted(set(config.get("figures", [])) - set(on_request)):
        raise ConfigError(f"config, figures: {unknown}, expected some of {', '.join(on_request)}")
    for figure in all_figures:
        if figure.task not in ("", *known):
            raise ConfigError(
                f"{figure.module}: figure {figure.name!r} of task {figure.task!r}, expected one of "
                f"{', '.join(known)}, or an empty one for all"
            )
