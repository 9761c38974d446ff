"""The waveform itself as a representation: for networks that learn their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from wavcube.representations.base import Representation


class WaveformRepresentation(Representation):
    """Every sample is a frame of width 1; nothing is computed.

    Parameters
    ----------
    sample_rate : int
        In Hz.

    Examples
    --------
    >>> import torch
    >>> representation = WaveformRepresentation(8000)
    >>> representation(torch.randn(2, 100))[0].shape, representation.frame_rate
    (torch.Size([2, 100, 1]), 8000.0)
    """

    model: nn.Identity

    def __init__(self, sample_rate: int = 16000) -> None:
        super().__init__(nn.Identity())
        self._sample_rate = sample_rate

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self._sample_rate

    @property
    def hop(self) -> int:
        """One sample a frame."""
        return 1

    @property
    def dim(self) -> int:
        """Width C of a sample: 1."""
        return 1

    def description(self) -> Mapping[str, Any]:
        """Return the kind and the rate as plain data."""
        return {"kind": "waveform", "sample_rate": self._sample_rate}

    def compute(self, wavs: Tensor, samples: Tensor, frames: Tensor) -> Tensor:
        """Return the samples; see the base class."""
        return wavs[:, None, : int(frames.max()), None]
