"""Log-mel distance at several resolutions at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wavcube.losses.mel import MelLoss


class MultiScaleMelLoss(nn.Module):
    """Mean of log-mel distances over window lengths, as codecs are trained with.

    One window leaves open what happens within its length; short windows fix onsets, long ones
    the harmonics. Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN"
    (arXiv 2306.06546), section 3.4.

    Parameters
    ----------
    sample_rate : int
        Samples per second of the waveforms.
    n_ffts : sequence of int
        Windows in samples, each with a hop of a quarter.
    n_mels : sequence of int
        Mel bands of each.

    Raises
    ------
    ValueError
        If there are not as many numbers of bands as windows.

    Examples
    --------
    >>> loss, wavs = MultiScaleMelLoss(16000), torch.randn(2, 16000)
    >>> loss(wavs, wavs)
    tensor(0.)
    """

    def __init__(
        self,
        sample_rate: int,
        n_ffts: Sequence[int] = (256, 512, 1024, 2048),
        n_mels: Sequence[int] = (25, 50, 100, 160),
    ) -> None:
        super().__init__()
        if len(n_ffts) != len(n_mels) or not n_ffts:
            raise ValueError(f"{len(n_mels)} numbers of bands for {len(n_ffts)} windows")
        self.scales = nn.ModuleList(
            MelLoss(sample_rate, bands, window, window // 4)
            for window, bands in zip(n_ffts, n_mels, strict=True)
        )

    def forward(
        self, generated: Tensor, target: Tensor, num_samples: Tensor | None = None
    ) -> Tensor:
        """Compare waveforms `[B, T]`; see :meth:`wavcube.losses.mel.MelLoss.forward`."""
        losses = [scale(generated, target, num_samples) for scale in self.scales]
        return torch.stack(losses).mean()
