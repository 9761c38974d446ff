"""Log-mel energies as a representation: what was there before any model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.lengths import length_mask
from wavcube.lobes.ssl.filterbank_wavlm import LogMelFrontEnd
from wavcube.representations.base import Representation


class MelRepresentation(Representation):
    """Log-mel energies of 10 ms frames, some of them side by side in one frame.

    Parameters
    ----------
    num_mel_bins : int
        Bands of a 10 ms frame.
    stacked_frames : int
        10 ms frames in one; 2 gives WavCube's frame rate.
    sample_rate : int
        In Hz.

    Examples
    --------
    >>> import torch
    >>> representation = MelRepresentation(num_mel_bins=40)
    >>> representation(torch.randn(2, 1601))[0].shape, representation.frame_rate
    (torch.Size([2, 6, 80]), 50.0)
    """

    model: LogMelFrontEnd

    def __init__(
        self, num_mel_bins: int = 80, stacked_frames: int = 2, sample_rate: int = 16000
    ) -> None:
        super().__init__(LogMelFrontEnd(num_mel_bins, stacked_frames, sample_rate))
        self._sample_rate, self._num_mel_bins = sample_rate, num_mel_bins

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self._sample_rate

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.model.hop * self.model.stacked_frames

    @property
    def dim(self) -> int:
        """Width C: bands times stacked frames."""
        return self._num_mel_bins * self.model.stacked_frames

    def description(self) -> Mapping[str, Any]:
        """Return the sizes as plain data."""
        names = ("hop", "window_size", "n_fft", "stacked_frames", "CENTRE", "SPREAD", "FLOOR")
        sizes = {name: getattr(self.model, name) for name in names}
        rate = self.sample_rate
        return {"kind": "mel", "bins": self._num_mel_bins, "sample_rate": rate, **sizes}

    def compute(self, wavs: Tensor, samples: Tensor, frames: Tensor) -> Tensor:
        """Analyse; see the base class."""
        wanted = int(frames.max()) * self.hop
        wavs = wavs.masked_fill(~length_mask(samples, wavs.shape[1]), 0.0)[:, :wanted]
        return self.model(F.pad(wavs, (0, wanted - wavs.shape[1])))[:, None]
