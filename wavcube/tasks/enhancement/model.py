"""Enhancement: noisy speech to clean speech of the same length.

Two ways, one interface: a mask on the noisy spectrogram (SUPERB-SG, arXiv 2203.06849), and the
latent of clean speech, which WavCube's own decoder speaks. They are the separators of
:mod:`~wavcube.tasks.separation.model` with one source, and without its axis.
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
from wavcube.tasks.head_checks import check_latent_head, check_mask_head
from wavcube.tasks.model import TaskModel


class Enhancer(TaskModel):
    """What all enhancers share.

    A subclass gives :meth:`estimate`, what its loss looks at, and :meth:`render`.

    Parameters
    ----------
    representation : Representation
        Of the noisy speech.
    head : nn.Module
        With ``num_sources``.

    Raises
    ------
    ValueError
        If the head has several sources.
    """

    usage: ClassVar[tuple[str, str]] = (
        "WavCubeEnhancer",
        'model.enhance_file("noisy.wav", "clean.wav")',
    )

    def __init__(self, representation: Representation, head: nn.Module) -> None:
        super().__init__(representation, head)
        if head.num_sources != 1:
            raise ValueError(f"clean speech is one source, the head gives {head.num_sources}")

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate clean speech in the head's own terms.

        Parameters
        ----------
        wavs : Tensor
            Noisy speech `[B, T]` at `sample_rate`.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.
        num_samples : Tensor
            The same in samples `[B]`.

        Returns
        -------
        Tensor
            `[B, ...]`: masks or latents.
        """
        raise NotImplementedError

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Make waveforms of what was estimated.

        Parameters
        ----------
        estimates : Tensor
            Of :meth:`estimate`.
        wavs : Tensor
            Noisy speech `[B, T]`.
        num_samples : Tensor
            Samples of each `[B]`.

        Returns
        -------
        Tensor
            `[B, T]`, zero after an item's own samples.
        """
        raise NotImplementedError

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None, rendered: bool = True
    ) -> Tensor:
        """Enhance.

        Parameters
        ----------
        wavs : Tensor
            Noisy speech `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        rendered : bool
            Give waveforms; otherwise what :meth:`estimate` gives, for a loss.

        Returns
        -------
        Tensor
            `[B, T]`, exactly as long as the noisy speech; zero after an item's own samples.
        """
        num_samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device)
        estimates = self.estimate(wavs, wav_lens, num_samples)
        return self.render(estimates, wavs, num_samples) if rendered else estimates


class MaskEnhancer(Enhancer):
    """A mask on the noisy spectrogram, whose phase is kept.

    Parameters
    ----------
    representation : Representation
        Any.
    head : MaskHead
        Of its width and hop, with one mask.

    Raises
    ------
    ValueError
        If width or hop differ, or there are several masks.

    Examples
    --------
    >>> from wavcube.representations import MelRepresentation
    >>> head = MaskHead(8, stride=320, hidden_dim=4, num_layers=1)
    >>> model = MaskEnhancer(MelRepresentation(num_mel_bins=4), head)
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 1601])
    """

    def __init__(self, representation: Representation, head: MaskHead) -> None:
        super().__init__(representation, head)
        check_mask_head(representation, head)

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate masks `[B, M, F]`; see the base class."""
        features, lens = self.representation(wavs, wav_lens)
        return self.head(features, num_samples, lens, wavs)[:, 0]

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Apply masks; see the base class."""
        return self.head.separate(wavs, num_samples, estimates[:, None])[:, 0]


class LatentEnhancer(Enhancer):
    """The noisy latent to the clean one, which WavCube's decoder speaks.

    Nothing of the noisy waveform is kept, its phase included.

    Parameters
    ----------
    representation : LatentRepresentation
        With its decoder.
    head : LatentHead
        Of the latent's width, with one source.

    Raises
    ------
    ValueError
        If the representation has no decoder, or the widths differ.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> head = LatentHead(8, hidden_dim=4, num_layers=1)
    >>> model = LatentEnhancer(LatentRepresentation(tiny_wavcube()), head).eval()
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 1601])
    """

    def __init__(self, representation: LatentRepresentation, head: LatentHead) -> None:
        super().__init__(representation, head)
        check_latent_head(representation, head)

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate latents `[B, N, D]`; see the base class."""
        del num_samples
        return self.head(*self.representation(wavs, wav_lens))[:, 0]

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Decode; see the base class."""
        samples = num_samples.tolist()
        frames = torch.tensor([self.representation.num_frames(n) for n in samples])
        lens = (frames / estimates.shape[1]).to(estimates.device)
        decoded = self.representation.model.decode(estimates, lens, length=samples)
        return nn.functional.pad(decoded, (0, wavs.shape[1] - decoded.shape[1]))
