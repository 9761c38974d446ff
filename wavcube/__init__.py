"""WavCube: one compact continuous latent of speech, as a SpeechBrain lobe.

Importing the package loads nothing heavy: `WavCube` is looked up when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavcube.inference import WavCube

from wavcube.version import __version__

__all__ = ["WavCube", "__version__"]


def __getattr__(name: str) -> type[WavCube]:
    if name == "WavCube":
        from wavcube.inference import WavCube

        return WavCube
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "WavCube"])
