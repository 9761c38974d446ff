"""What one does with a latent: one folder for each task, found by itself."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavcube.tasks.verbs import Verb


def folder_names() -> list[str]:
    """List the package's own tasks: the folders here.

    Examples
    --------
    >>> "enhancement" in folder_names()
    True
    """
    return [found.name for found in iter_modules(__path__) if found.ispkg]


def folder_verbs() -> dict[str, Verb]:
    """Return how the package's own tasks are used, by name; their code is not imported.

    Examples
    --------
    >>> folder_verbs()["enhancement"].name
    'enhance'
    """
    return {name: import_module(f"wavcube.tasks.{name}").VERB for name in folder_names()}
