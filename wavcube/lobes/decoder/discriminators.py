"""Discriminators of the adversarial training: over periods and over spectrogram bands.

Both judge waveforms by several sub-discriminators at once and return, for each of them, a map of
scores and the feature maps for feature matching. The first map of each convolution stack is left
out, as in Vocos (arXiv 2306.00814), whose families these are. The constructors' defaults are the
paper's size; smaller numbers give a model that trains on a CPU:

>>> small = MultiPeriodDiscriminator(channels=(8, 16, 32, 64, 64))
>>> sum(p.numel() for p in small.parameters())
172610
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from wavcube.lobes.configurable import Configurable

NEGATIVE_SLOPE = 0.1
DiscriminatorOutput = tuple[list[Tensor], list[list[Tensor]]]


class MultiPeriodDiscriminator(Configurable):
    """Judge a waveform folded at several periods (HiFi-GAN, arXiv 2010.05646, section 2.3).

    Parameters
    ----------
    periods : Sequence of int
        Fold of each sub-discriminator, in samples; coprime numbers see different structure.
    channels : Sequence of int
        Output channels of the convolutions, in order.
    kernel_size : int
        Taps along time of each convolution, odd.
    stride : int
        Stride along time of all convolutions but the last.

    Raises
    ------
    ValueError
        If there is no period or no channel, or the kernel size is even.

    Examples
    --------
    >>> import torch
    >>> judge = MultiPeriodDiscriminator(periods=(2, 3), channels=(4, 8, 8))
    >>> scores, maps = judge(torch.randn(2, 1600))
    >>> [tuple(s.shape) for s in scores], [len(m) for m in maps]
    ([(2, 178), (2, 180)], [3, 3])
    """

    def __init__(
        self,
        periods: Sequence[int] = (2, 3, 5, 7, 11),
        channels: Sequence[int] = (32, 128, 512, 1024, 1024),
        kernel_size: int = 5,
        stride: int = 3,
    ) -> None:
        super().__init__()
        if not periods or not channels or kernel_size % 2 == 0:
            raise ValueError(
                f"expected at least one period and channel count and an odd kernel size, got "
                f"periods={tuple(periods)}, channels={tuple(channels)}, kernel_size={kernel_size}"
            )
        self.periods = list(periods)
        self.discriminators = nn.ModuleList(
            _PeriodDiscriminator(period, channels, kernel_size, stride) for period in periods
        )

    def forward(self, wavs: Tensor) -> DiscriminatorOutput:
        """Score waveforms.

        Parameters
        ----------
        wavs : Tensor
            Waveforms, ``[B, T]``, of any length: those shorter than the longest period are
            extended by zeros.

        Returns
        -------
        scores : list of Tensor
            ``[B, positions]`` for each period.
        feature_maps : list of list of Tensor
            ``[B, C, positions, period]`` maps of each period, the score map last.

        Raises
        ------
        ValueError
            If ``wavs`` is not ``[B, T]`` with at least one sample.
        """
        return _judge(self.discriminators, _at_least(wavs, max(self.periods)))


class MultiResolutionDiscriminator(Configurable):
    """Judge the bands of complex spectrograms at several resolutions.

    The form of the Descript Audio Codec (arXiv 2306.06546, section 3.2) as used in Vocos: one stack
    of convolutions for each frequency band, a joint last layer. The waveform's mean is removed and
    its peak set to 0.8 first, so that loudness is not evidence. The spectrogram is computed in
    float32 also under autocast; the convolutions follow autocast.

    Parameters
    ----------
    fft_sizes : Sequence of int
        Window and transform length of each sub-discriminator in samples; the hop is a quarter.
    channels : int
        Channels of all convolutions.
    bands : Sequence of float
        Edges of the frequency bands as fractions of the spectrum, rising from 0 to 1.

    Raises
    ------
    ValueError
        If there is no size, the edges do not rise from 0 to 1 or a band holds no frequency bin.

    Examples
    --------
    >>> import torch
    >>> judge = MultiResolutionDiscriminator(fft_sizes=(256, 128), channels=4)
    >>> scores, maps = judge(torch.randn(2, 1600))
    >>> [tuple(s.shape) for s in scores], [len(m) for m in maps]
    ([(2, 1, 26, 18), (2, 1, 51, 10)], [21, 21])
    """

    def __init__(
        self,
        fft_sizes: Sequence[int] = (2048, 1024, 512),
        channels: int = 32,
        bands: Sequence[float] = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0),
    ) -> None:
        super().__init__()
        rising = all(low < high for low, high in pairwise(bands))
        if not fft_sizes or len(bands) < 2 or (bands[0], bands[-1]) != (0.0, 1.0) or not rising:
            raise ValueError(
                f"expected at least one transform size and band edges that rise from 0 to 1, got "
                f"fft_sizes={tuple(fft_sizes)}, bands={tuple(bands)}"
            )
        self.fft_sizes = list(fft_sizes)
        self.discriminators = nn.ModuleList(
            _BandDiscriminator(size, channels, bands) for size in fft_sizes
        )

    def forward(self, wavs: Tensor) -> DiscriminatorOutput:
        """Score waveforms.

        Parameters
        ----------
        wavs : Tensor
            Waveforms, ``[B, T]``, of any length: those of half the longest window or less are
            extended by zeros to one sample more than that.

        Returns
        -------
        scores : list of Tensor
            ``[B, 1, frames, positions]`` for each resolution.
        feature_maps : list of list of Tensor
            ``[B, C, frames, positions]`` maps of each resolution, band by band, the score map last.

        Raises
        ------
        ValueError
            If ``wavs`` is not ``[B, T]`` with at least one sample.
        """
        wavs = _at_least(wavs, max(self.fft_sizes) // 2 + 1)
        return _judge(self.discriminators, wavs)


class _PeriodDiscriminator(nn.Module):
    """Two-dimensional convolutions over a waveform folded at one period."""

    def __init__(self, period: int, channels: Sequence[int], kernel_size: int, stride: int) -> None:
        super().__init__()
        self.period = period
        inputs = (1, *channels[:-1])
        strides = (stride,) * (len(channels) - 1) + (1,)
        self.convs = nn.ModuleList(
            _convolution(before, after, (kernel_size, 1), (step, 1))
            for before, after, step in zip(inputs, channels, strides, strict=True)
        )
        self.conv_post = _convolution(channels[-1], 1, (3, 1))

    def forward(self, wavs: Tensor) -> tuple[Tensor, list[Tensor]]:
        missing = -wavs.shape[1] % self.period
        # [B, T] -> [B, 1, T / period, period]
        folded = pad(wavs.unsqueeze(1), (0, missing), mode="reflect")
        folded = folded.unflatten(2, (-1, self.period))
        hidden, maps = _run_stack(self.convs, folded)
        score = self.conv_post(hidden)
        return score.flatten(1), [*maps, score]


class _BandDiscriminator(nn.Module):
    """One stack of convolutions per band of a complex spectrogram, and a joint last layer."""

    window: Tensor

    def __init__(self, fft_size: int, channels: int, bands: Sequence[float]) -> None:
        super().__init__()
        self.fft_size = fft_size
        bins = fft_size // 2 + 1
        edges = [int(fraction * bins) for fraction in bands]
        self.widths = [high - low for low, high in pairwise(edges)]
        if min(self.widths) < 1:
            raise ValueError(
                f"with fft_size={fft_size} ({bins} bins) the bands {tuple(bands)} get "
                f"{self.widths} bins: take a longer window or wider bands"
            )
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        self.band_convs = nn.ModuleList(self._stack(channels) for _ in self.widths)
        self.conv_post = _convolution(channels, 1, (3, 3))

    @staticmethod
    def _stack(channels: int) -> nn.ModuleList:
        return nn.ModuleList(
            [
                _convolution(2, channels, (3, 9)),
                *(_convolution(channels, channels, (3, 9), (1, 2)) for _ in range(3)),
                _convolution(channels, channels, (3, 3)),
            ]
        )

    def forward(self, wavs: Tensor) -> tuple[Tensor, list[Tensor]]:
        bands = self._spectrogram(wavs).split(self.widths, dim=-1)
        hidden, maps = [], []
        for stack, band in zip(self.band_convs, bands, strict=True):
            band, band_maps = _run_stack(stack.children(), band)
            hidden.append(band)
            maps += band_maps
        score = self.conv_post(torch.cat(hidden, dim=-1))
        return score, [*maps, score]

    def _spectrogram(self, wavs: Tensor) -> Tensor:
        """Real and imaginary part as channels, ``[B, T] -> [B, 2, frames, bins]``."""
        with torch.autocast(wavs.device.type, enabled=False):
            wavs = wavs.float()
            wavs = wavs - wavs.mean(dim=1, keepdim=True)
            wavs = 0.8 * wavs / (wavs.abs().amax(dim=1, keepdim=True) + 1e-9)
            size, hop = self.fft_size, self.fft_size // 4
            spectrum = torch.stft(wavs, size, hop, window=self.window, return_complex=True)
            return torch.view_as_real(spectrum).permute(0, 3, 2, 1)


def _convolution(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    """Weight-normed convolution that keeps the size (before the stride)."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))


def _run_stack(convolutions: Iterable[nn.Module], hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Apply convolutions; return the last output and all but the first."""
    outputs = []
    for convolution in convolutions:
        hidden = leaky_relu(convolution(hidden), NEGATIVE_SLOPE)
        outputs.append(hidden)
    return hidden, outputs[1:]


def _judge(discriminators: nn.ModuleList, wavs: Tensor) -> DiscriminatorOutput:
    scores, maps = zip(*(judge(wavs) for judge in discriminators), strict=True)
    return list(scores), list(maps)


def _at_least(wavs: Tensor, size: int) -> Tensor:
    """Extend ``[B, T]`` by zeros to the shortest length that reflection padding can take."""
    if wavs.dim() != 2 or wavs.shape[1] == 0:
        raise ValueError(f"expected waveforms [B, T] with T >= 1, got shape {tuple(wavs.shape)}")
    return pad(wavs, (0, max(0, size - wavs.shape[1])))
