"""What a frozen model knows of a corpus of voices: latents, those of its perturbed copies, F0."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.data.transcripts import row_of
from wavcube.metrics.base import MetricError
from wavcube.metrics.speaker import embed_voice
from wavcube.representations.cache import StateCache, state_key
from wavcube.tasks.conversion.data import Clip
from wavcube.tasks.conversion.model import VoiceConverter
from wavcube.tasks.conversion.perturbation import SpeakerPerturbation
from wavcube.utils.files import write_atomically

__all__ = ["FeatureCache", "check_several"]

# utterances that make a speaker's embedding
EMBEDDED_UTTERANCES = 3


class FeatureCache:
    """Computes once, on disk, what lessons need; a run that is resumed finds it there.

    Parameters
    ----------
    model : VoiceConverter
        Whose representation makes the latents.
    folder : str or Path
        Where to keep them.
    perturbation : SpeakerPerturbation
        Makes the copies.
    copies : int
        Of every utterance.
    """

    def __init__(
        self,
        model: VoiceConverter,
        folder: str | Path,
        perturbation: SpeakerPerturbation,
        copies: int,
    ) -> None:
        if copies < 1:
            raise ValueError(f"copies {copies}: a converter learns from at least 1")
        self.model, self.perturbation = model, perturbation
        self.copies = copies
        self.cache = StateCache(folder, model.representation)
        self._melody_file = self.cache.folder / "F0 curves.st"
        self._melodies = _load(self._melody_file)

    @torch.no_grad()
    def add(self, rows: Sequence[Utterance], seed: int, progress: bool = True) -> list[Clip]:
        """Compute what is missing of utterances.

        Parameters
        ----------
        rows : sequence of Utterance
            Of a manifest.
        seed : int
            Draws their copies.
        progress : bool
            Show a bar.

        Returns
        -------
        list of Clip
            In their order.
        """
        rate, keys = self.model.sample_rate, [state_key(row.ID, row.wav) for row in rows]
        names = [
            tuple(f"{key}~{self._copy_name(i, seed)}" for i in range(self.copies)) for key in keys
        ]
        bar = partial(tqdm, total=len(rows), unit="clip", disable=not progress)
        items = (
            item
            for row, key, own in bar(zip(rows, keys, names, strict=True), desc="latents")
            for item in self._computations(row, key, own, seed)
        )
        self.cache.fill(items)
        missing = [(r, k) for r, k in zip(rows, keys, strict=True) if k not in self._melodies]
        for row, key in tqdm(missing, desc="F0 curves", unit="clip", disable=not progress):
            log_f0, voiced = self.model.track(self._to_model(read_audio(row.wav, rate))[None])
            self._melodies[key] = torch.stack([log_f0[0], voiced[0].to(log_f0)], -1).cpu()
        if missing:
            write_atomically(self._melody_file, save(self._melodies), overwrite=True)
        return [
            Clip(row.ID, row.spk_id, key, own, self._melodies[key])
            for row, key, own in zip(rows, keys, names, strict=True)
        ]

    def read(self, key: str) -> Tensor:
        """Read latents `[N, D]`."""
        return self.cache[key][0]

    def _copy_name(self, index: int, seed: int) -> str:
        ranges = self.perturbation
        return f"{index}-{seed}-{ranges.pitch}-{ranges.formants}-{ranges.timbre_db}"

    def _computations(
        self, row: Utterance, key: str, copies: Sequence[str], seed: int
    ) -> list[tuple]:
        def copied(index: int) -> Tensor:
            rng = np.random.default_rng((seed, index, zlib.crc32(row.ID.encode())))
            return self.perturbation(read_audio(row.wav, self.model.sample_rate), rng)

        first = (key, partial(read_audio, row.wav, self.model.sample_rate))
        return [first, *((name, partial(copied, i)) for i, name in enumerate(copies))]

    def _to_model(self, wav: Tensor) -> Tensor:
        return wav.to(next(self.model.parameters()).device)


def speaker_embeddings(
    rows: Sequence[Utterance], sample_rate: int, progress: bool = True
) -> dict[str, Tensor]:
    """Embed every speaker by Resemblyzer's encoder, from some of their utterances.

    Parameters
    ----------
    rows : sequence of Utterance
        Of a manifest.
    sample_rate : int
        To read them at, in Hz.
    progress : bool
        Show a bar.

    Returns
    -------
    dict of str to Tensor
        `[256]` of unit length, by speaker.

    Raises
    ------
    ValueError
        If no voice is found in an utterance.
    """
    chosen: dict[str, list[Utterance]] = {}
    for row in rows:
        if len(own := chosen.setdefault(row.spk_id, [])) < EMBEDDED_UTTERANCES:
            own.append(row)
    made = {}
    for speaker, own in tqdm(chosen.items(), desc="speakers", disable=not progress):
        try:
            parts = [
                embed_voice(read_audio(row.wav, sample_rate).numpy(), sample_rate) for row in own
            ]
        except MetricError as error:
            raise ValueError(f"speaker {speaker}: {error} ({own[0].wav})") from error
        mean = torch.from_numpy(np.mean(parts, axis=0))
        made[speaker] = mean / mean.norm()
    return made


def check_several(rows: Sequence[Utterance], source: str | Path | None) -> None:
    """Refuse speakers of whom there is one utterance: a reference must be another one.

    Parameters
    ----------
    rows : sequence of Utterance
        Of a manifest.
    source : str or Path, optional
        The folder or CSV that they are from, for the message.

    Raises
    ------
    ValueError
        Naming the first such speaker, the row and the remedy.

    Examples
    --------
    >>> check_several([Utterance("a", 1.0, "a.wav", "sue")], "my")
    Traceback (most recent call last):
    ...
    ValueError: a.wav: the only utterance of speaker 'sue' to train on, and a reference must be ...
    """
    counts = Counter(row.spk_id for row in rows)
    for row in rows:
        if counts[row.spk_id] == 1:
            raise ValueError(
                f"{row_of(row, source)}: the only utterance of speaker {row.spk_id!r} to train on, "
                "and a reference must be another one. Add one, leave this one out, or set "
                "single_utterances to True to cut such utterances in two"
            )


def _load(path: Path) -> dict[str, Tensor]:
    """Read F0 curves; what is broken is computed again."""
    if not path.is_file():
        return {}
    try:
        return load_file(path)
    except SafetensorError:
        return {}
