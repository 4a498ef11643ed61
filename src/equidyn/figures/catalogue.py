"""Which figures there are, as each of their modules declares it.

A module states in a literal list what it draws, so that the driver of the workflow need not import
matplotlib; a file outside the package may, too (the config's ``extensions``):

    FIGURES = [{"name": "my_figure", "task": "forces", "caption": "What one sees", "claim": "C2"}]

``name`` is lower case with underscores, ``task`` empty for figures of all tasks, ``claim`` that under which
the report shows it (none: at the end). Optional: ``extra``, the file of every shown run that it needs
beside the decomposition tables; ``axes``, the dotted keys of a matrix, where it is drawn once runs vary one
of them; ``comparisons`` (true), where it is drawn of those of the config; ``on_request`` (true), where the
config's ``figures`` name it; ``place``, of its order.
"""

from collections.abc import Iterable

from equidyn.declarations import Figure, figures

DYNAMICS = ("gradients.csv", "curvature.csv", "landscape.h5", "head.csv")  # of runs with ``dynamics``
HEAD = "head.csv"  # of those with the linear force head


def figures_of(
    task: str,
    dynamic: bool,
    head: bool,
    varied: Iterable[str],
    extensions: Iterable[str] = (),
    compared: bool = False,
    requested: Iterable[str] = (),
) -> dict[str, Figure]:
    """The figures of a task with runs, by name.

    Parameters
    ----------
    dynamic, head : whether a shown run declares ``dynamics``, and one with the linear force head does
    varied : dotted keys that the task's runs in the matrix vary
    extensions : files outside the package that may declare figures
    compared : whether the config has comparisons of the task
    requested : names that the config's ``figures`` list
    """
    varied, requested, found = set(varied), set(requested), {}
    for figure in figures(tuple(extensions)):
        if figure.task not in ("", task) or (figure.axes and not varied & set(figure.axes)):
            continue
        if (figure.comparisons and not compared) or (figure.on_request and figure.name not in requested):
            continue
        if figure.extra in DYNAMICS and not (head if figure.extra == HEAD else dynamic):
            continue
        found[figure.name] = figure
    return found


def described(stem: str, extensions: Iterable[str] = ()) -> Figure | None:
    """The declaration of a drawn figure ``<task>-<name>``; None where it is not one of these."""
    task, _, name = stem.partition("-")
    fitting = [f for f in figures(tuple(extensions)) if f.name == name and f.task in ("", task)]
    return fitting[0] if fitting else None
