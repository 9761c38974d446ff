"""Voice conversion: a recording, and some seconds of another voice, to that voice saying it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.pitch import PitchTracker
from wavcube.lobes.lengths import to_absolute
from wavcube.representations.base import Representation
from wavcube.representations.latent import LatentRepresentation

# a release may name their heads, which are found where they were imported
from wavcube.tasks.conversion import autoregressive, conformer, flow  # noqa: F401
from wavcube.tasks.conversion.heads import ConversionHead
from wavcube.tasks.conversion.voice import Voice, mean_pitch
from wavcube.tasks.model import TaskModel


@dataclass
class ConversionBatch:
    """What a converter learns from: pieces of speech in another voice, and as they were.

    Parameters
    ----------
    source : Tensor
        Latents of the pieces in another voice, `[B, N, D]`.
    frames : Tensor
        Counts `[B]`.
    log_f0, voiced : Tensor
        F0 of the pieces as they were, `[B, N]`.
    voice : Voice
        Of the speakers.
    target : Tensor
        Latents of the pieces as they were, `[B, N, D]`.
    """

    source: Tensor
    frames: Tensor
    log_f0: Tensor
    voiced: Tensor
    voice: Voice
    target: Tensor

    def given(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Voice]:
        """Give what a head converts."""
        return self.source, self.frames, self.log_f0, self.voiced, self.voice


class StoredVoice(Configurable):
    """The one voice of an any-to-one converter, kept with its weights.

    Parameters
    ----------
    latent_dim : int
        Width D of the latent.
    num_frames : int
        Frames M that are kept of the speaker's recordings.
    embedding_dim : int
        Width of the speaker embedding; 0 for none.

    Examples
    --------
    >>> stored = StoredVoice(latent_dim=4, num_frames=9)
    >>> stored(batch=2).latents.shape  # a frame of silence, until there is a voice
    torch.Size([2, 1, 4])
    """

    latents: Tensor
    frames: Tensor
    pitch: Tensor
    embedding: Tensor

    def __init__(
        self, latent_dim: int = 128, num_frames: int = 3000, embedding_dim: int = 0
    ) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.register_buffer("latents", torch.zeros(num_frames, latent_dim))
        self.register_buffer("frames", torch.tensor(1))
        self.register_buffer("pitch", torch.tensor(0.0))
        self.register_buffer("embedding", torch.zeros(embedding_dim))

    def keep(self, voice: Voice) -> None:
        """Store a voice, a batch of one; frames beyond `num_frames` are left out."""
        frames = min(int(voice.frames), self.num_frames)
        self.latents.zero_()[:frames] = voice.latents[0, :frames]
        self.frames.fill_(frames)
        self.pitch.copy_(voice.pitch[0])
        if voice.embedding is not None and self.embedding.numel():
            self.embedding.copy_(voice.embedding[0])

    def forward(self, batch: int) -> Voice:
        """Give it to every item of a batch."""
        latents = self.latents[: int(self.frames)].expand(batch, -1, -1)
        embedding = self.embedding.expand(batch, -1) if self.embedding.numel() else None
        return Voice(latents, self.frames.expand(batch), self.pitch.expand(batch), embedding)


class VoiceConverter(TaskModel):
    """Latent of a source, head, and WavCube's own decoder.

    What is said and its f0 come from the source, the f0 moved to the target's mean pitch;
    the voice comes from latents of the target.

    Parameters
    ----------
    representation : LatentRepresentation
        A frozen one: its latents are what the head aims at.
    head : ConversionHead
        From the source's latents to the target's.
    stored : StoredVoice, optional
        The only target of an any-to-one converter; by default any.

    Raises
    ------
    ValueError
        If the representation has no decoder, is fine-tuned, or is of another width.

    Examples
    --------
    >>> from wavcube.testing import tiny_converter
    >>> model = tiny_converter()
    >>> voice = model.voice_of(torch.randn(2, 9600))
    >>> model(torch.randn(2, 1600), torch.tensor([1.0, 0.5]), voice).shape
    torch.Size([2, 1600])
    """

    task = "conversion"
    usage: ClassVar[tuple[str, str]] = (
        "WavCubeVoiceConverter",
        'model.convert_file("source.wav", "voice.wav", "converted.wav")',
    )
    head: ConversionHead
    representation: LatentRepresentation

    def __init__(
        self,
        representation: Representation,
        head: ConversionHead,
        stored: StoredVoice | None = None,
    ) -> None:
        if not isinstance(representation, LatentRepresentation):
            raise ValueError(
                f"a {type(representation).__name__} cannot be decoded, and conversion makes "
                "speech: take WavCube's latent (representation/wavcube.yaml)"
            )
        if not representation.is_frozen:
            raise ValueError(
                "conversion aims at latents, which must stand still: leave unfreeze_at and lr of "
                "the representation out"
            )
        if representation.dim != head.latent_dim:
            raise ValueError(
                f"the latent has {representation.dim} dimensions, the head {head.latent_dim}"
            )
        super().__init__(representation, head)
        self.stored = stored
        self.tracker = PitchTracker(representation.sample_rate, representation.hop)

    def voice_of(
        self, wavs: Tensor, wav_lens: Tensor | None = None, embedding: Tensor | None = None
    ) -> Voice:
        """Describe speakers by recordings.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`, some seconds of each speaker.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.
        embedding : Tensor, optional
            Of a speaker encoder `[B, E]`, for a head that needs one.

        Returns
        -------
        Voice
            Of `B` items.
        """
        latents, frames = self._encode(wavs, wav_lens)
        return Voice(latents, frames, mean_pitch(*self.track(wavs, wav_lens)), embedding)

    def track(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Track the pitch of waveforms `[B, T]` at the latent's frames; see PitchTracker."""
        samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device)
        # a latent of the official framing has no frames for a recording's very end
        frames = self.representation.num_frames(wavs.shape[1])
        log_f0, voiced = self.tracker(wavs, samples)
        return log_f0[:, :frames], voiced[:, :frames]

    def _encode(self, wavs: Tensor, wav_lens: Tensor | None) -> tuple[Tensor, Tensor]:
        latents, lens = self.features(wavs, wav_lens)
        return latents, to_absolute(lens, latents.shape[1], len(latents), latents.device)

    def forward(
        self,
        wavs: Tensor | None = None,
        wav_lens: Tensor | None = None,
        voice: Voice | None = None,
        lesson: ConversionBatch | None = None,
    ) -> Tensor:
        """Convert; or, in training, measure how far the head is from a lesson's target.

        Parameters
        ----------
        wavs : Tensor, optional
            `[B, T]` at `sample_rate`.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.
        voice : Voice, optional
            Wanted ones; not for an any-to-one converter, which has its own.
        lesson : ConversionBatch, optional
            In place of all the others: training goes through here too, as several processes need.

        Returns
        -------
        Tensor
            `[B, T]`, zero beyond an item's end; of a lesson the loss.

        Raises
        ------
        ValueError
            If there is no voice, or one too many.
        """
        if lesson is not None:
            return self.head.loss(*lesson.given(), lesson.target)
        if wavs is None:
            raise ValueError("nothing to convert: give waveforms")
        if self.stored is None:
            if voice is None:
                raise ValueError("this converter needs a voice: give recordings of one")
        elif voice is not None:
            raise ValueError("this converter has one voice of its own: give it no other")
        else:
            voice = self.stored(len(wavs))
        latents, frames = self._encode(wavs, wav_lens)
        log_f0, voiced = self.track(wavs, wav_lens)
        wanted = shift_f0(log_f0, voiced, voice.pitch)
        made = self.head(latents, frames, wanted, voiced, voice)
        samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device).tolist()
        # the decoder is the representation's own
        audio = self.representation.model.decode(made, frames / made.shape[1], samples)
        # where no item fills the batch
        return nn.functional.pad(audio, (0, wavs.shape[1] - audio.shape[1]))


def shift_f0(log_f0: Tensor, voiced: Tensor, pitch: Tensor) -> Tensor:
    """Move F0 curves to other mean pitches, interval by interval the same.

    Parameters
    ----------
    log_f0, voiced : Tensor
        `[B, N]`.
    pitch : Tensor
        Logarithms of F0 in Hz, `[B]`; 0 to leave a f0 where it is.

    Returns
    -------
    Tensor
        `[B, N]`, 0 where unvoiced.

    Examples
    --------
    >>> f0, voiced = torch.tensor([[5.0, 0.0, 5.5]]), torch.tensor([[True, False, True]])
    >>> shift_f0(f0, voiced, torch.tensor([4.25]))
    tensor([[4.0000, 0.0000, 4.5000]])
    """
    shift = torch.where(pitch > 0, pitch - mean_pitch(log_f0, voiced), 0.0)
    return (log_f0 + shift[:, None]).masked_fill(~voiced, 0.0)
