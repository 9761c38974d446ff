"""Less memory for more time in training: activations of a layer are computed again when needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class RecomputableLayer(nn.Module):
    """A layer that can forget what it computed until its gradient is wanted.

    Examples
    --------
    >>> class Square(RecomputableLayer):
    ...     def forward(self, x):
    ...         return x * x
    >>> layer, x = Square(), torch.tensor(3.0, requires_grad=True)
    >>> layer.recomputes = True
    >>> layer(x).backward()
    >>> x.grad
    tensor(6.)
    """

    recomputes: bool = False

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - as nn.Module's
        """Run the layer."""
        if self.recomputes and torch.is_grad_enabled():
            return checkpoint(super().__call__, *arguments, use_reentrant=False)
        return super().__call__(*arguments)


def activation_checkpointing(module: nn.Module, wanted: bool = True) -> int:
    """Choose whether a module's transformer layers and ConvNeXt blocks keep their activations.

    Parameters
    ----------
    module : nn.Module
        With layers of this package; those of transformers' HuBERT and wav2vec2 are left alone.
    wanted : bool
        Whether to compute them again.

    Returns
    -------
    int
        Layers that it was chosen for.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> activation_checkpointing(tiny_wavcube())
    6
    """
    layers = [part for part in module.modules() if isinstance(part, RecomputableLayer)]
    for layer in layers:
        layer.recomputes = wanted
    return len(layers)
