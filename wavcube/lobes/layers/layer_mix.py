"""A learned weighted sum of an encoder's layers (SUPERB, arXiv 2105.01051)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable


class LayerMix(Configurable):
    """Weigh all states of an SSL encoder, its input embedding included.

    The last layer knows what is said but little of how it sounds; the first ones are the reverse. A
    latent that must serve both gets both. It starts as the plain mean.

    Parameters
    ----------
    num_states : int
        Layers of the encoder plus one.

    Examples
    --------
    >>> LayerMix(2)([torch.zeros(1, 3, 4), torch.ones(1, 3, 4)])[0, 0, 0].item()
    0.5
    """

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_states))

    def forward(self, states: list[Tensor]) -> Tensor:
        """Mix.

        Parameters
        ----------
        states : list of Tensor
            `[B, N, C]` each.

        Returns
        -------
        Tensor
            `[B, N, C]`.

        Raises
        ------
        ValueError
            If the number of states is another than the constructor's.
        """
        if len(states) != len(self.logits):
            raise ValueError(f"{len(states)} states for a mix of {len(self.logits)}")
        weights = self.logits.softmax(0)
        return sum(weight * state for weight, state in zip(weights, states, strict=True))
