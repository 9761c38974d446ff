"""The models of tasks that make waveforms of a waveform, whose sources they estimate.

Three ways, one interface: masks on the spectrogram of what is heard (SUPERB-SG, arXiv 2203.06849),
latents that WavCube's decoder synthesises, and waveforms without any representation.
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
from wavcube.tasks.model import TaskModel

# names of the loss terms
PHASE_SENSITIVE, SI_SDR, LATENT, MEL = "phase_sensitive", "si_sdr", "latent", "mel"


class SignalModel(TaskModel):
    """A waveform to the sources that it is made of; their order has no meaning.

    A subclass gives :meth:`estimate`, what its loss looks at, and :meth:`render`.
    """

    # the loss terms that it can learn by
    terms: ClassVar[frozenset[str]]

    @property
    def num_sources(self) -> int:
        """Sources that a waveform is taken apart into."""
        return self.head.num_sources

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate the sources in the head's own terms.

        Parameters
        ----------
        wavs : Tensor
            What is heard, `[B, T]` at `sample_rate`.
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
            What is heard, `[B, T]`.
        num_samples : Tensor
            Samples of each `[B]`.

        Returns
        -------
        Tensor
            `[B, S, T]`, exactly as long as what is heard; zero after an item's own samples.
        """
        raise NotImplementedError

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None, rendered: bool = True
    ) -> Tensor:
        """Take waveforms apart.

        Parameters
        ----------
        wavs : Tensor
            What is heard, `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
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


class MaskModel(SignalModel):
    """Masks on the spectrogram of what is heard, whose phase the sources keep.

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
    """

    terms = frozenset({PHASE_SENSITIVE, SI_SDR, MEL})

    def __init__(self, representation: Representation, head: MaskHead) -> None:
        super().__init__(representation, head)
        wanted, given = (head.input_dim, head.stride), (representation.dim, representation.hop)
        if wanted != given:
            raise ValueError(
                f"the head takes features of width {wanted[0]} every {wanted[1]} samples, the "
                f"representation gives width {given[0]} every {given[1]}"
            )

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate masks `[B, S, M, F]`; see the base class."""
        features, lens = self.representation(wavs, wav_lens)
        return self.head(features, num_samples, lens, wavs)

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Apply masks; see the base class."""
        return self.head.separate(wavs, num_samples, estimates)


class LatentModel(SignalModel):
    """The latent of what is heard to a clean one for each source, which is decoded.

    Nothing of the waveform is kept, its phase included.

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
    """

    terms = frozenset({LATENT, MEL})

    def __init__(self, representation: LatentRepresentation, head: LatentHead) -> None:
        super().__init__(representation, head)
        if not isinstance(representation, LatentRepresentation):
            raise ValueError(
                "a clean latent is estimated only where a decoder can synthesise it: take the "
                f"representation wavcube, not {type(representation).__name__}, or a mask head"
            )
        if head.latent_dim != representation.dim:
            raise ValueError(
                f"the head maps latents of width {head.latent_dim}, the representation gives "
                f"width {representation.dim}"
            )

    def estimate(self, wavs: Tensor, wav_lens: Tensor | None, num_samples: Tensor) -> Tensor:
        """Estimate latents `[B, S, N, D]`; see the base class."""
        del num_samples
        return self.head(*self.representation(wavs, wav_lens))

    def render(self, estimates: Tensor, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Decode; see the base class."""
        samples = num_samples.repeat_interleave(self.num_sources).tolist()
        frames = torch.tensor([self.representation.num_frames(n) for n in samples])
        lens = (frames / estimates.shape[2]).to(estimates.device)
        decoded = self.representation.model.decode(estimates.flatten(0, 1), lens, length=samples)
        padding = (0, wavs.shape[1] - decoded.shape[1])
        return nn.functional.pad(decoded, padding).unflatten(0, (-1, self.num_sources))
