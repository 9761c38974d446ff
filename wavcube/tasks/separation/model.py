"""Separators: a mixture of speakers to a waveform for each of them."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from wavcube.representations.waveform import WaveformRepresentation
from wavcube.tasks.separation.conv_tasnet import ConvTasNetHead
from wavcube.tasks.signal import MEL, SI_SDR, LatentModel, MaskModel, SignalModel


class Separator(SignalModel):
    """What all separators share; the order of the speakers has no meaning."""

    task = "separation"
    usage: ClassVar[tuple[str, str]] = (
        "WavCubeSeparator",
        'model.separate_file("mixture.wav", "speaker.wav")  # speaker_1.wav, speaker_2.wav',
    )


class MaskSeparator(MaskModel, Separator):
    """Masks on the mixture's spectrogram, whose phase the speakers keep.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.layers.spectrogram import MaskHead
    >>> from wavcube.representations import MelRepresentation
    >>> head = MaskHead(8, stride=320, num_sources=2, hidden_dim=4, num_layers=1)
    >>> model = MaskSeparator(MelRepresentation(num_mel_bins=4), head)
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 2, 1601])
    """


class LatentSeparator(LatentModel, Separator):
    """The mixture's latent to a clean latent for each speaker, which WavCube's decoder synthesises.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.layers.latent_map import LatentHead
    >>> from wavcube.representations import LatentRepresentation
    >>> from wavcube.testing import tiny_wavcube
    >>> head = LatentHead(8, num_sources=2, hidden_dim=4, num_layers=1)
    >>> model = LatentSeparator(LatentRepresentation(tiny_wavcube()), head).eval()
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 2, 1601])
    """


class WaveformSeparator(Separator):
    """Waveform to waveforms, by a network that learns its own representation: the baseline.

    Parameters
    ----------
    representation : WaveformRepresentation
        Which says the sample rate.
    head : ConvTasNetHead
        With a waveform for each speaker.

    Examples
    --------
    >>> import torch
    >>> head = ConvTasNetHead(2, 8, 16, bottleneck_dim=4, hidden_dim=8, num_blocks=2, num_repeats=1)
    >>> model = WaveformSeparator(WaveformRepresentation(8000), head)
    >>> model(torch.randn(3, 800), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 2, 800])
    """

    terms = frozenset({SI_SDR, MEL})

    def __init__(self, representation: WaveformRepresentation, head: ConvTasNetHead) -> None:
        super().__init__(representation, head)

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate waveforms `[B, S, T]`; see the base class."""
        del wav_lens
        return self.head(wavs, num_samples)

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Return the waveforms; see the base class."""
        del wavs, num_samples
        return estimates
