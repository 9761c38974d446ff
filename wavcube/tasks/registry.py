"""Tasks by their names: the package's by their folders, others by entry points or modules."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TypeVar

from wavcube.tasks import folder_names, folder_verbs
from wavcube.tasks.task import Task
from wavcube.tasks.verbs import Verb

ENTRY_POINTS = "wavcube_tasks"
_TASKS: dict[str, type[Task]] = {}
Kind = TypeVar("Kind", bound=type[Task])


def register_task(name: str) -> Callable[[Kind], Kind]:
    """Register a task by a name, which becomes its own.

    Parameters
    ----------
    name : str
        Of results/NAME, NAME_tiny and ``wavcube NAME``.

    Raises
    ------
    ValueError
        If another task has it.

    Examples
    --------
    >>> @register_task("counting")
    ... class Counting(Task):
    ...     pass
    >>> find_task("counting").name
    'counting'
    """

    def register(kind: Kind) -> Kind:
        known = _TASKS.get(name)
        if known is not None and known.__qualname__ != kind.__qualname__:
            raise ValueError(f"there are two tasks {name!r}: {known.__module__}, {kind.__module__}")
        kind.name = name
        _TASKS[name] = kind
        return kind

    return register


def all_tasks() -> dict[str, type[Task]]:
    """Import all tasks: the package's, and those of installed packages' entry points.

    Returns
    -------
    dict of str to type
        By name, the package's first.
    """
    for name in folder_names():
        importlib.import_module(f"wavcube.tasks.{name}.task")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    return dict(_TASKS)


def find_task(name: str) -> type[Task]:
    """Return a task by its name.

    Parameters
    ----------
    name : str
        Of a task that is registered or has a folder here; or of a module that registers one, as
        "my_package.my_task".

    Raises
    ------
    ValueError
        If there is none.
    """
    if name in folder_names():
        importlib.import_module(f"wavcube.tasks.{name}.task")
    if name not in _TASKS:
        before = set(_TASKS)
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
        new = [known for known in _TASKS if known not in before]
        if len(new) == 1:
            return _TASKS[new[0]]
        all_tasks()
    if name not in _TASKS:
        raise ValueError(f"there is no task {name!r}: there are {', '.join(sorted(_TASKS))}")
    return _TASKS[name]


def find_verb(name: str) -> Verb:
    """Return how a task is used.

    Parameters
    ----------
    name : str
        Of the task.

    Examples
    --------
    >>> find_verb("separation").name
    'separate'
    """
    return folder_verbs()[name] if name in folder_names() else find_task(name).verb
