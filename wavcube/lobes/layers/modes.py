"""How a module is being run: what is faster at inference must not get in the way elsewhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def is_plain_inference() -> bool:
    """Tell whether operators may be chosen for speed alone.

    Returns
    -------
    bool
        False where gradients are wanted, and where the graph is written down (export, compilation),
        which wants torch's own operators and no loop whose length depends on the input.

    Examples
    --------
    >>> is_plain_inference()
    False
    >>> with torch.no_grad():
    ...     is_plain_inference()
    True
    """
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing())


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
