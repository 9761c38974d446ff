"""Separation: a mixture of speakers to a waveform for each of them.

Three ways, one interface: masks on the mixture's spectrogram (SUPERB-SG, arXiv 2203.06849), latents
of the speakers that WavCube's decoder speaks, and waveforms without any representation.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.mask_head import MaskHead
from wavcube.lobes.lengths import to_absolute
from wavcube.representations.base import Representation
from wavcube.representations.latent import LatentRepresentation
from wavcube.representations.waveform import WaveformRepresentation
from wavcube.tasks.head_checks import check_latent_head, check_mask_head
from wavcube.tasks.model import TaskModel
from wavcube.tasks.separation.conv_tasnet import ConvTasNetHead


class Separator(TaskModel):
    """What all separators share; the order of the sources has no meaning.

    A subclass gives :meth:`estimate`, what its loss looks at, and :meth:`render`.
    """

    usage: ClassVar[tuple[str, str]] = (
        "WavCubeSeparator",
        'model.separate_file("mixture.wav", "speaker.wav")  # speaker_1.wav, speaker_2.wav',
    )

    @property
    def num_sources(self) -> int:
        """Speakers that a mixture is taken apart into."""
        return self.head.num_sources

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate the sources in the head's own terms.

        Parameters
        ----------
        wavs : Tensor
            Mixtures `[B, T]` at `sample_rate`.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.
        num_samples : Tensor
            The same in samples `[B]`.

        Returns
        -------
        Tensor
            `[B, S, ...]`: masks, latents or waveforms.
        """
        raise NotImplementedError

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Make waveforms of what was estimated.

        Parameters
        ----------
        estimates : Tensor
            Of :meth:`estimate`.
        wavs : Tensor
            Mixtures `[B, T]`.
        num_samples : Tensor
            Samples of each `[B]`.

        Returns
        -------
        Tensor
            `[B, S, T]`, exactly as long as the mixtures; zero after an item's own samples.
        """
        raise NotImplementedError

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None, rendered: bool = True
    ) -> Tensor:
        """Separate.

        Parameters
        ----------
        wavs : Tensor
            Mixtures `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        rendered : bool
            Give waveforms; otherwise what :meth:`estimate` gives, for a loss.

        Returns
        -------
        Tensor
            `[B, S, T]`, zero after an item's own samples.
        """
        num_samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device)
        estimates = self.estimate(wavs, wav_lens, num_samples)
        return self.render(estimates, wavs, num_samples) if rendered else estimates


class MaskSeparator(Separator):
    """Masks on the mixture's spectrogram, whose phase the sources keep.

    Parameters
    ----------
    representation : Representation
        Any.
    head : MaskHead
        Of its width and hop, with a mask for each source.

    Raises
    ------
    ValueError
        If width or hop differ.

    Examples
    --------
    >>> from wavcube.representations import MelRepresentation
    >>> head = MaskHead(8, stride=320, num_sources=2, hidden_dim=4, num_layers=1)
    >>> model = MaskSeparator(MelRepresentation(num_mel_bins=4), head)
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 2, 1601])
    """

    def __init__(self, representation: Representation, head: MaskHead) -> None:
        super().__init__(representation, head)
        check_mask_head(representation, head)

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate masks `[B, S, M, F]`; see the base class."""
        features, lens = self.representation(wavs, wav_lens)
        return self.head(features, num_samples, lens, wavs)

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Apply masks; see the base class."""
        return self.head.separate(wavs, num_samples, estimates)


class LatentSeparator(Separator):
    """The mixture's latent to a clean latent for each source, which WavCube's decoder speaks.

    Parameters
    ----------
    representation : LatentRepresentation
        With its decoder.
    head : LatentHead
        Of the latent's width.

    Raises
    ------
    ValueError
        If the representation has no decoder, or the widths differ.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> head = LatentHead(8, num_sources=2, hidden_dim=4, num_layers=1)
    >>> model = LatentSeparator(LatentRepresentation(tiny_wavcube()), head).eval()
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 2, 1601])
    """

    def __init__(self, representation: LatentRepresentation, head: LatentHead) -> None:
        super().__init__(representation, head)
        check_latent_head(representation, head)

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate latents `[B, S, N, D]`; see the base class."""
        return self.head(*self.representation(wavs, wav_lens))

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Decode; see the base class."""
        samples = num_samples.repeat_interleave(self.num_sources).tolist()
        frames = torch.tensor([self.representation.num_frames(n) for n in samples])
        lens = (frames / estimates.shape[2]).to(estimates.device)
        decoded = self.representation.model.decode(estimates.flatten(0, 1), lens, length=samples)
        padding = (0, wavs.shape[1] - decoded.shape[1])
        return nn.functional.pad(decoded, padding).unflatten(0, (-1, self.num_sources))


class WaveformSeparator(Separator):
    """Waveform to waveforms, by a network that learns its own representation: the baseline.

    Parameters
    ----------
    representation : WaveformRepresentation
        Which says the sample rate.
    head : ConvTasNetHead
        With a waveform for each source.

    Examples
    --------
    >>> head = ConvTasNetHead(2, 8, 16, bottleneck_dim=4, hidden_dim=8, num_blocks=2, num_repeats=1)
    >>> model = WaveformSeparator(WaveformRepresentation(8000), head)
    >>> model(torch.randn(3, 800), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 2, 800])
    """

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
