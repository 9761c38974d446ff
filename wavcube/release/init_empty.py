"""Building modules whose parameters take no memory until they are filled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from wavcube.lobes.layers.linear import Linear


@contextmanager
def init_empty() -> Iterator[None]:
    """Build modules with parameters on the meta device; buffers are as usual.

    No time goes into random weights that a file replaces, and the file's own pages can serve as
    the weights: what is never used, as a decoder where one encodes, is then never read.

    Examples
    --------
    >>> with init_empty():
    ...     layer = nn.Linear(3, 2)
    >>> layer.weight.is_meta
    True
    """
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = type(param)(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(module, name, param)

    setattr(nn.Module, "register_parameter", register_on_meta)  # noqa: B010 - a patch, for a moment
    try:
        yield
    finally:
        setattr(nn.Module, "register_parameter", register)  # noqa: B010


def is_empty(module: nn.Module) -> bool:
    """Tell whether parameters are still to be filled."""
    return any(parameter.is_meta for parameter in module.parameters())


def settle_types(module: nn.Module, keep_half: bool) -> None:
    """Bring parameters that were assigned as a file has them to the types that a model runs in.

    Parameters
    ----------
    module : nn.Module
        Whose parameters may be float16.
    keep_half : bool
        Leave the large matrices as they are: for a model that computes in half precision.
    """
    matrices = {id(part.weight) for part in module.modules() if isinstance(part, Linear)}
    for parameter in module.parameters():
        if parameter.dtype == torch.float16 and not (keep_half and id(parameter) in matrices):
            parameter.data = parameter.data.float()
