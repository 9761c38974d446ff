"""Plain-data description of a lobe inside another lobe."""

from __future__ import annotations

from typing import Any

from torch import nn


def nested_config(lobe: nn.Module) -> dict[str, Any]:
    """Describe a lobe by its class and its constructor's arguments.

    Parameters
    ----------
    lobe : nn.Module
        Any module with a `config()` of plain data.

    Returns
    -------
    dict
        The class's dotted name under `class`, and the arguments.

    Examples
    --------
    >>> from wavcube.lobes.istft import ISTFTHead
    >>> nested_config(ISTFTHead(dim=8, n_fft=32, hop=8))
    {'class': 'wavcube.lobes.istft.ISTFTHead', 'dim': 8, 'n_fft': 32, 'hop': 8}
    """
    kind = type(lobe)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", **lobe.config()}
