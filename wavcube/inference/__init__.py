"""The classes that users load: `WavCube` for the latent, and one for each task.

They are looked up when they are first asked for, so that importing one loads no other.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "WavCube": "wavcube.inference.latent",
    "WavCubeASR": "wavcube.tasks.recognition.inference",
    "WavCubeEnhancer": "wavcube.tasks.enhancement.inference",
    "WavCubeSeparator": "wavcube.tasks.separation.inference",
    "WavCubeVoiceConverter": "wavcube.tasks.conversion.inference",
}

__all__ = [*_MODULES]


def __getattr__(name: str) -> type:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
