"""Voice conversion for users: `WavCubeVoiceConverter.from_hparams(FOLDER).convert_file(A, B)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from wavcube.data.audio import LongAudio, write_audio
from wavcube.data.checks import Waveforms
from wavcube.inference.base import LONG, check_computed
from wavcube.inference.files import check_output
from wavcube.lobes.lengths import to_absolute
from wavcube.metrics.base import MetricError, TechnicalError
from wavcube.metrics.speaker import embed_voice
from wavcube.tasks.conversion import VERB
from wavcube.tasks.conversion.model import VoiceConverter
from wavcube.tasks.conversion.voice import Voice
from wavcube.tasks.inference import Released
from wavcube.tasks.long_audio import predict_long
from wavcube.tasks.model import TaskModel
from wavcube.utils.files import WRITTEN_SUFFIXES

# voiced speech that a reference must have, in seconds; some seconds are better
SHORTEST_REFERENCE = 0.5

# seconds of a window and around it: memory grows with the square of their sum
_CHUNK, _CONTEXT = 20.0, 5.0


class WavCubeVoiceConverter(Released):
    """A voice converter of a release: what a source says, in the voice of a reference.

    Sources and references are taken whole; memory grows with the product of their lengths, which
    minutes of each do not strain.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        `model`, a VoiceConverter.
    hparams, run_opts, freeze_params
        See :class:`~wavcube.inference.base.ReleasedModel`.

    Examples
    --------
    >>> from wavcube.testing import tiny_converter, tone
    >>> converter = WavCubeVoiceConverter({"model": tiny_converter()}, run_opts={"device": "cpu"})
    >>> converter.convert_batch(torch.randn(2, 1000), tone(1.0)[None]).shape
    torch.Size([2, 1000])
    """

    MODEL: ClassVar[type[TaskModel]] = VoiceConverter
    PACKAGED = VERB.packaged
    verb = VERB

    def convert_batch(
        self,
        wavs: Waveforms,
        references: Tensor | None = None,
        wav_lens: Tensor | None = None,
        reference_lens: Tensor | None = None,
        sample_rate: int | None = None,
    ) -> Tensor:
        """Convert waveforms.

        Parameters
        ----------
        wavs : Tensor
            Sources `[B, T]`, or `[T]` for one, floating point in about -1 to 1. What lies beyond an
            item's length is ignored.
        references : Tensor, optional
            Speech of the voices that are wanted, `[B, R]`, or `[1, R]` or `[R]` of one for all;
            left out with an any-to-one converter, which has its own.
        wav_lens, reference_lens : Tensor, optional
            Relative lengths in (0, 1] of sources `[B]` and of references; by default every item
            fills its batch.
        sample_rate : int, optional
            Of all of them, in Hz; another rate than the model's is resampled. By default the
            model's.

        Returns
        -------
        Tensor
            `[B, T]` at the model's rate, on its device, zero beyond an item's end. Silence gives
            what the voice sounds like when it says nothing.

        Raises
        ------
        ValueError
            If a shape, type, length or rate is wrong, or a sample is not finite; if there is no
            reference, one too many, or one with less than 0.5 s of voiced speech.
        """
        wavs, wav_lens = self.checked(wavs, wav_lens, sample_rate)
        with torch.no_grad(), self.inference_ctx:
            voice = self._voice(references, reference_lens, sample_rate)
            if voice is not None and len(voice.latents) == 1 < len(wavs):
                voice = voice.take([0] * len(wavs))
            return self._convert(wavs, wav_lens, voice)

    def _convert(self, wavs: Tensor, wav_lens: Tensor | None, voice: Voice | None) -> Tensor:
        converted = self.mods.model(wavs, wav_lens, voice)
        check_computed(converted, "converting these waveforms", wavs)
        return converted

    def convert_file(
        self,
        source: str | Path,
        reference: str | Path | Sequence[str | Path] | None = None,
        out: str | Path | None = None,
        *,
        overwrite: bool = False,
        keep: bool = True,
    ) -> Tensor | None:
        """Convert an audio file; other rates are resampled, channels averaged.

        What is longer than a minute is converted window by window; see
        :func:`~wavcube.tasks.long_audio.predict_long`.

        Parameters
        ----------
        source : str or Path
            Anything that soundfile reads.
        reference : str, Path or sequence of them, optional
            Recordings of one speaker, whose first minute is heard; left out with an any-to-one
            converter.
        out : str or Path, optional
            A wav or flac file to write, at the model's rate.
        overwrite : bool
            Replace ``out``.
        keep : bool
            Return the waveform. Without, ``out`` of a long recording is written in bounded memory.

        Returns
        -------
        Tensor or None
            `[1, T]`, as many samples as the source has at the model's rate, if it is kept.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or ``out`` exists.
        ValueError
            If one is not audio, is empty or holds samples that are not finite, or ``out`` ends in
            something else; or as :meth:`convert_batch`.
        """
        check_output(out, WRITTEN_SUFFIXES, overwrite)
        paths = [reference] if isinstance(reference, str | Path) else list(reference or ())
        references = None
        if paths:
            references = torch.cat([self.load_audio(path) for path in paths])
            references = references[: round(LONG * self.sample_rate)]
        audio = LongAudio(source, self.sample_rate)
        if self._is_long(audio.num_samples):
            with torch.no_grad(), self.inference_ctx:
                voice = self._voice(references, None, None)

            def convert(wav: Tensor) -> Tensor:
                with self.inference_ctx:
                    return self._convert(wav[None].to(self.device), None, voice)[0][:, None]

            parts = predict_long(convert, audio, _CHUNK, _CONTEXT)
            return self._deliver(parts, out, keep)
        converted = self.convert_batch(audio.read()[None], references)
        if out is not None:
            write_audio(out, converted[0].cpu(), self.sample_rate)
        return converted

    # with the voice that is wanted between what every task has
    predict_batch = convert_batch  # type: ignore[assignment]
    predict_file = convert_file  # type: ignore[assignment]

    def forward(self, wavs: Tensor, references: Tensor | None = None) -> Tensor:
        """Convert `[B, T]`."""
        return self.convert_batch(wavs, references)

    def _voice(
        self, references: Tensor | None, lens: Tensor | None, sample_rate: int | None
    ) -> Voice | None:
        """Describe the voices of references; None where the model has its own."""
        model = self.mods.model
        if (references is None) != (model.stored is not None):
            raise ValueError(
                "this converter needs a reference: some seconds of the voice that is wanted"
                if references is None
                else "this converter has one voice of its own: leave the reference out"
            )
        if references is None:
            return None
        references, lens = self.checked(references, lens, sample_rate)
        self._check_voiced(model.track(references, lens)[1])
        embedding = self._embed(references, lens) if model.head.embedding_dim else None
        return model.voice_of(references, lens, embedding)

    def _check_voiced(self, voiced: Tensor) -> None:
        hop = self.mods.model.representation.hop / self.sample_rate
        for item, frames in enumerate(voiced.sum(1).tolist()):
            if frames * hop < SHORTEST_REFERENCE:
                raise ValueError(
                    f"reference {item} has {frames * hop:.2f} s of voiced speech, at least "
                    f"{SHORTEST_REFERENCE} s are needed: give some seconds of the voice"
                )

    def _embed(self, references: Tensor, lens: Tensor | None) -> Tensor:
        counts = to_absolute(lens, references.shape[1], len(references), references.device)
        made = []
        for item, (wav, count) in enumerate(zip(references, counts.tolist(), strict=True)):
            try:
                made.append(embed_voice(wav[:count].cpu().numpy(), self.sample_rate))
            except TechnicalError as error:
                raise ImportError(f"this converter embeds speakers: {error}") from error
            except MetricError as error:
                raise ValueError(f"reference {item}: {error}") from error
        return torch.stack([torch.from_numpy(part) for part in made]).to(references)
