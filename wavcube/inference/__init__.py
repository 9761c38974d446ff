"""The classes that users load: `WavCube` for the latent, and those of all tasks.

They are looked up when they are first asked for, so that importing one loads no other. A task says
the name of its class in its folder (:class:`wavcube.tasks.verbs.Verb`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavcube.inference.latent import WavCube as WavCube

_OWN = {"WavCube": "wavcube.inference.latent", "Released": "wavcube.tasks.inference"}


def _modules() -> dict[str, str]:
    verbs = import_module("wavcube.tasks").folder_verbs()
    of_tasks = {v.released: f"wavcube.tasks.{name}.inference" for name, v in verbs.items()}
    return {**_OWN, **{name: module for name, module in of_tasks.items() if name}}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of the classes
    module = _OWN.get(name) or (None if name.startswith("_") else _modules().get(name))
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_modules()])
