"""The length contract that every model of a latent keeps: T samples, ceil(T / hop) frames, T back.

The result for an item does not depend on its batch, and what lies in its padding has no meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.level import Level
from wavcube.lobes.lengths import length_mask, to_absolute


@dataclass
class CodecOutput:
    """What training needs of one pass.

    Attributes
    ----------
    latents : Tensor
        `[B, N, D]`.
    audio : Tensor
        Decoded waveforms `[B, T]`, zero in the padding.
    mask : Tensor
        Valid frames `[B, N]`.
    """

    latents: Tensor
    audio: Tensor
    mask: Tensor


class LatentCodec(Configurable):
    """Base of the models: waveform to latent and back, under one length contract.

    A subclass sets ``encoder`` (with `sample_rate` and `hop`) and ``decoder`` (with `hop` and
    `latent_dim`), calls :meth:`check_hops`, and gives :meth:`latents_of`; see
    :class:`~wavcube.lobes.acoustic_codec.AcousticCodec` for one with nothing else.
    """

    # what they have is checked where they are put together
    encoder: Any
    decoder: Any

    def check_hops(self) -> None:
        """Refuse an encoder and a decoder of different hops with a ValueError."""
        if self.encoder.hop != self.decoder.hop:
            raise ValueError(
                f"the encoder makes a frame of {self.encoder.hop} samples, the decoder of "
                f"{self.decoder.hop}"
            )

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self.encoder.sample_rate

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return self.encoder.hop

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sample_rate / self.hop

    @property
    def latent_dim(self) -> int:
        """Width D of the latent."""
        return self.decoder.latent_dim

    def num_frames(self, samples: int) -> int:
        """Latent frames of a waveform of so many samples: ceil(samples / hop)."""
        if samples < 1:
            raise ValueError(f"a waveform of {samples} samples has nothing to encode")
        return -(-samples // self.hop)

    def lengths_of(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Count the samples and the frames of each item.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.

        Returns
        -------
        samples, frames : Tensor
            Counts `[B]`, int64.

        Raises
        ------
        ValueError
            If the batch is not `[B, T]` or empty, or a length leaves (0, 1].
        """
        if wavs.dim() != 2:
            raise ValueError(f"waveforms must be [batch, time], got {tuple(wavs.shape)}")
        if not wavs.numel():
            raise ValueError(f"nothing to encode in a batch of shape {tuple(wavs.shape)}")
        samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device)
        frames = torch.tensor([self.num_frames(n) for n in samples.tolist()], device=wavs.device)
        return samples, frames

    @property
    def normalises(self) -> bool:
        """Whether a waveform is normalised by its own level before it is encoded."""
        return getattr(self.encoder, "do_normalize", False)

    def latents_of(
        self, wavs: Tensor, samples: Tensor, frames: Tensor, level: Level | None = None
    ) -> Tensor:
        """Encode a batch whose lengths are counted.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`.
        samples, frames : Tensor
            Of :meth:`lengths_of`.
        level : Level, optional
            Normalise by this, for windows of one recording; by default each item by its own.

        Returns
        -------
        Tensor
            `[B, N, D]` with the frames of the longest item, zero in the padding.
        """
        raise NotImplementedError

    def encode(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.

        Returns
        -------
        latents : Tensor
            `[B, N, D]`, zero in the padding.
        lens : Tensor
            Relative lengths `[B]` of the latents.

        Raises
        ------
        ValueError
            See :meth:`lengths_of`.
        """
        samples, frames = self.lengths_of(wavs, wav_lens)
        latents, size = self.latents_of(wavs, samples, frames), self.num_frames(wavs.shape[1])
        # the batch's own padding counts too, where no item fills it
        return F.pad(latents, (0, 0, 0, size - latents.shape[1])), frames / size

    def decoder_input(self, latents: Tensor) -> Tensor:
        """Map latents `[B, N, D]` to the coordinates that the decoder takes."""
        return latents

    def decode(
        self,
        latents: Tensor,
        lens: Tensor | None = None,
        length: int | Sequence[int] | None = None,
    ) -> Tensor:
        """Decode a batch.

        Parameters
        ----------
        latents : Tensor
            `[B, N, D]`.
        lens : Tensor, optional
            Relative lengths `[B]` of the latents.
        length : int or sequence of int, optional
            Samples wanted, of the padded batch or of each item. Frames times hop by default.

        Returns
        -------
        Tensor
            `[B, length]`, zero beyond an item's own end.

        Raises
        ------
        ValueError
            If the latents have another width, or a length cannot belong to them.
        """
        if latents.dim() != 3 or latents.shape[2] != self.latent_dim:
            raise ValueError(
                f"latents must be [batch, frames, {self.latent_dim}], got {tuple(latents.shape)}"
            )
        frames = to_absolute(lens, latents.shape[1], len(latents), latents.device)
        wavs = self.decoder(self.decoder_input(latents), frames)
        if length is None:
            return wavs
        if isinstance(length, Sequence | Tensor):
            return self._checked(wavs, frames.tolist(), list(length))
        return self._checked(wavs, [latents.shape[1]] * len(latents), [length] * len(latents))

    def _checked(self, wavs: Tensor, frames: list[int], wanted: list[int]) -> Tensor:
        """Cut or extend decoded waveforms to the samples that were encoded in so many frames."""
        if len(wanted) != len(wavs):
            raise ValueError(f"{len(wanted)} lengths for a batch of {len(wavs)}")
        for expected, samples in zip(frames, wanted, strict=True):
            if self.num_frames(samples) != expected:
                raise ValueError(
                    f"{samples} samples make {self.num_frames(samples)} frames, not {expected}"
                )
        return fit_samples(wavs, torch.tensor(wanted, device=wavs.device), max(wanted))

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None, detach_latent: bool = False
    ) -> CodecOutput:
        """Encode and decode.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.
        detach_latent : bool
            Keep the decoder's gradient from the latent.

        Returns
        -------
        CodecOutput
            Latents, waveforms and mask.
        """
        samples, frames = self.lengths_of(wavs, wav_lens)
        latents = self.latents_of(wavs, samples, frames)
        audio = self.decoder(latents.detach() if detach_latent else latents, frames)
        audio = fit_samples(audio, samples, wavs.shape[1])
        return CodecOutput(latents, audio, length_mask(frames, latents.shape[1]))


def fit_samples(wavs: Tensor, samples: Tensor, size: int) -> Tensor:
    """Cut or extend a batch `[B, T]` to `[B, size]`, silent beyond each item's own samples `[B]`.

    Examples
    --------
    >>> fit_samples(torch.ones(2, 2), torch.tensor([1, 2]), 3)
    tensor([[1., 0., 0.],
            [1., 1., 0.]])
    """
    return F.pad(wavs, (0, size - wavs.shape[1])) * length_mask(samples, size)
