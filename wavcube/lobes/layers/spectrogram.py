"""Short-time Fourier transform of padded batches, and its exact inverse.

Hann window, centred frames. A waveform is continued by silence up to a whole number of hops (and
half a window on both sides), never by its mirror image: then an item's spectrum does not depend
on what it is padded with, and every sample lies between two frames, so that the inverse is exact
to the last sample and none has to be silenced.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.lengths import ceil_division, length_mask

# of an item's root mean square: 80 dB below it
SMALLEST_MAGNITUDE = 1e-4


class Spectrogram(nn.Module):
    """Complex spectra of `[B, T]` and back. It has no parameters.

    Parameters
    ----------
    n_fft : int
        Samples of a window and of its transform.
    hop : int
        Samples from a frame to the next.

    Raises
    ------
    ValueError
        If the hop leaves samples that a window hardly reaches.

    Examples
    --------
    >>> spectrogram = Spectrogram(n_fft=16, hop=8)
    >>> wavs, num_samples = torch.randn(2, 50), torch.tensor([50, 20])
    >>> spectra = spectrogram(wavs, num_samples)
    >>> spectra.shape, spectrogram.num_frames(num_samples)
    (torch.Size([2, 8, 9]), tensor([8, 4]))
    >>> torch.allclose(spectrogram.inverse(spectra, num_samples)[0], wavs[0], atol=1e-6)
    True
    """

    window: Tensor

    def __init__(self, n_fft: int = 512, hop: int = 320) -> None:
        super().__init__()
        if not 1 <= hop <= 3 * n_fft // 4:
            raise ValueError(
                f"hop={hop} must be from 1 to three quarters of n_fft={n_fft}: between frames "
                "further apart the Hann windows leave hardly anything to invert"
            )
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    @property
    def num_bins(self) -> int:
        """Frequencies of a frame."""
        return self.n_fft // 2 + 1

    def num_frames(self, num_samples: Tensor) -> Tensor:
        """Count the frames of items.

        Parameters
        ----------
        num_samples : Tensor
            Samples `[B]`.

        Returns
        -------
        Tensor
            Frames `[B]`: one for every hop that is begun, and one more.
        """
        return ceil_division(num_samples, self.hop) + 1

    def forward(self, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Transform, in float32 also under autocast.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`. What lies beyond an item's samples is taken for silence.
        num_samples : Tensor
            Samples `[B]`, at most T.

        Returns
        -------
        Tensor
            Complex `[B, M, num_bins]`, M the longest item's frames; zero after an item's own.
        """
        with torch.autocast(wavs.device.type, enabled=False):
            counts = self.num_frames(num_samples)
            frames = int(counts.max())
            inside = length_mask(num_samples, wavs.shape[1])
            wavs = wavs.float().masked_fill(~inside, 0.0)
            half, total = self.n_fft // 2, (frames - 1) * self.hop + self.n_fft
            wavs = F.pad(wavs, (half, total - half - wavs.shape[1]))
            spectra = torch.fft.rfft(wavs.unfold(1, self.n_fft, self.hop) * self.window)
            return spectra.masked_fill(~length_mask(counts, frames)[..., None], 0.0)

    def inverse(self, spectra: Tensor, num_samples: Tensor) -> Tensor:
        """Find the waveforms whose windowed frames come closest to given ones.

        Overlap-add with the window once more, divided by the sum of its squares (Griffin and Lim,
        "Signal estimation from modified short-time Fourier transform", 1984, eq. 6).

        Parameters
        ----------
        spectra : Tensor
            Complex `[B, M, num_bins]`.
        num_samples : Tensor
            Samples `[B]`.

        Returns
        -------
        Tensor
            `[B, T]`, T the longest item's samples; exactly zero after an item's own.

        Raises
        ------
        ValueError
            If there are fewer frames than the samples need.
        """
        counts = self.num_frames(num_samples)
        frames, size = spectra.shape[1], int(num_samples.max())
        if frames < int(counts.max()):
            raise ValueError(f"{size} samples have {int(counts.max())} frames, not {frames}")
        valid = length_mask(counts, frames)[..., None]
        # silence of the padded frames, also in the sum of squares: as if the item were alone
        pieces = torch.fft.irfft(spectra, self.n_fft).masked_fill(~valid, 0.0) * self.window
        squares = valid * self.window.square()
        half = self.n_fft // 2
        wavs, weights = (self._overlap_add(x)[:, half : half + size] for x in (pieces, squares))
        inside = length_mask(num_samples, size)
        return torch.where(inside, wavs / weights.masked_fill(~inside, 1.0), 0.0)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Add `[B, M, n_fft]` at steps of a hop: `[B, (M - 1) * hop + n_fft]`."""
        total = (frames.shape[1] - 1) * self.hop + self.n_fft
        folded = F.fold(
            frames.transpose(1, 2), (1, total), kernel_size=(1, self.n_fft), stride=(1, self.hop)
        )
        return folded[:, 0, 0]


def log_magnitudes(spectra: Tensor, counts: Tensor) -> Tensor:
    """Give the log-magnitudes of each item with mean 0 and variance 1 over all its bins.

    The item's level is taken out first: how loud a recording is changes nothing.

    Parameters
    ----------
    spectra : Tensor
        Complex `[B, M, F]`, zero after an item's own frames.
    counts : Tensor
        Frames of each item `[B]`.

    Returns
    -------
    Tensor
        `[B, M, F]`, zero after an item's own frames; zero everywhere for silence.

    Examples
    --------
    >>> spectra = torch.tensor([[[1.0 + 0j, 100.0], [1.0, 100.0], [0.0, 0.0]]])
    >>> log_magnitudes(spectra, torch.tensor([2]))[0].round().tolist()
    [[-1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]
    """
    valid = length_mask(counts, spectra.shape[1])[..., None]
    bins = (counts * spectra.shape[2])[:, None, None]

    def mean(values: Tensor) -> Tensor:
        return values.masked_fill(~valid, 0.0).sum(dim=(1, 2), keepdim=True) / bins

    magnitudes = spectra.abs()
    level = mean(magnitudes.square()).sqrt().clamp(min=1e-8)
    logs = (magnitudes / level / SMALLEST_MAGNITUDE).log1p()
    logs = logs - mean(logs)
    spread = mean(logs.square()).sqrt().clamp(min=1e-3)
    return (logs / spread).masked_fill(~valid, 0.0)
