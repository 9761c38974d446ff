"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks
from torch import Tensor, nn


@register_checkpoint_hooks
class ExponentialMovingAverage:
    """Average of a module's trainable parameters over the updates, in float32.

    The first updates count more: after n of them the decay is ``min(decay, (1 + n) / (10 + n))``.

    Parameters
    ----------
    module : nn.Module
        Only parameters that require gradients now are averaged.
    decay : float
        Weight of the past in one update, in (0, 1).

    Raises
    ------
    ValueError
        If the decay is not in (0, 1).

    Examples
    --------
    >>> module = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(module.weight)
    >>> average = ExponentialMovingAverage(module, 0.9)
    >>> _ = nn.init.ones_(module.weight)
    >>> average.update(module)  # the first decay is 1 / 10
    >>> with average.applied_to(module):
    ...     print(round(module.weight.item(), 3))
    0.9
    >>> module.weight.item()
    1.0
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"the decay of an average must lie in (0, 1), got {decay}")
        self.decay, self.updates = decay, 0
        self.shadow = {
            name: parameter.detach().float().clone()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the module's weights after an update.

        Parameters
        ----------
        module : nn.Module
            The averaged module.
        """
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        parameters = self._parameters(module)
        current = [parameters[name].float() for name in self.shadow]
        torch._foreach_lerp_(list(self.shadow.values()), current, 1.0 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's weights with the average.

        Parameters
        ----------
        module : nn.Module
            The averaged module, or another of the same parameters.
        """
        parameters = self._parameters(module)
        for name, average in self.shadow.items():
            parameters[name].copy_(average)

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Give the module the average for the length of a with block.

        Parameters
        ----------
        module : nn.Module
            The averaged module.
        """
        parameters = self._parameters(module)
        held = {name: parameters[name].detach().clone() for name in self.shadow}
        self.copy_to(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weights in held.items():
                    parameters[name].copy_(weights)

    def _parameters(self, module: nn.Module) -> dict[str, Tensor]:
        parameters: dict[str, Tensor] = dict(module.named_parameters())
        missing = sorted(self.shadow.keys() - parameters.keys())
        if missing:
            raise KeyError(f"the module lacks parameters that were averaged: {missing[:3]}")
        return parameters

    @mark_as_saver
    def _save(self, path: str) -> None:
        torch.save({"updates": self.updates, "shadow": self.shadow}, path)

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        del end_of_epoch
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if saved["shadow"].keys() != self.shadow.keys():
            raise ValueError(f"the average in {path} is of other parameters than this run trains")
        self.updates = saved["updates"]
        for name, weights in saved["shadow"].items():
            self.shadow[name].copy_(weights)
