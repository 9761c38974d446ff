"""Speech that the package makes itself, in the folders of VCTK 0.92."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import soundfile
from tqdm import tqdm

from wavcube.data.synthetic.corpus import make_voices, render
from wavcube.data.synthetic.espeak import Espeak, Voice
from wavcube.data.synthetic.once import make_once
from wavcube.data.synthetic.text import draw_sentence

__all__ = ["VCTK_FOLDER", "make_synthetic_vctk", "synthetic_speakers"]

Role = Literal["train", "valid", "test"]

VCTK_FOLDER = "VCTK-Corpus-0.92"
# beyond VCTK's own, which end at p376; a role has at most 144 voices
_FIRST_SPEAKER = {"train": 401, "valid": 601, "test": 701}
_SPLITS = {"train": "train", "valid": "dev", "test": "test"}
# Part of a corpus's name: raise it when the text, the voices or the signal processing changes.
_VERSION = 1
_HEADER = "ID  AGE  GENDER  ACCENTS  REGION COMMENTS"


@dataclass(frozen=True)
class _Plan:
    """Everything that the bytes of a corpus depend on."""

    voices: tuple[int, int, int]
    common_sentences: int
    own_sentences: int
    seed: int
    sample_rate: int
    version: int = _VERSION


def synthetic_speakers(role: Role, count: int) -> list[str]:
    """Name the speakers of a role, as their folders are named.

    Parameters
    ----------
    role : {"train", "valid", "test"}
        Roles share neither voices nor timbres.
    count : int
        How many speakers the role has.

    Examples
    --------
    >>> synthetic_speakers("test", 2)
    ['p701', 'p702']
    """
    return [f"p{_FIRST_SPEAKER[role] + index}" for index in range(count)]


def make_synthetic_vctk(
    folder: str | Path,
    *,
    train_voices: int = 20,
    valid_voices: int = 4,
    test_voices: int = 4,
    common_sentences: int = 8,
    own_sentences: int = 12,
    seed: int = 1234,
    sample_rate: int = 16000,
    progress: bool = True,
) -> Path:
    """Speak a corpus in VCTK's layout, or return the one that an earlier call has finished.

    As in VCTK, every speaker says some sentences that all of them say, under the same numbers, and
    then sentences of their own. The same arguments give the same bytes.

    Parameters
    ----------
    folder : str | Path
        Where corpora are kept, for example `default_cache_folder()`; one subfolder for each set
        of arguments.
    train_voices, valid_voices, test_voices : int
        Speakers of each role: `synthetic_speakers(role, count)`.
    common_sentences : int
        Said by everybody: 001 and on.
    own_sentences : int
        Said by one speaker only.
    seed : int
        Draws voices and text.
    sample_rate : int
        Of the files, in Hz (VCTK's own are at 48000).
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path
        The corpus: `wav48_silence_trimmed/<speaker>/<speaker>_<number>_mic1.flac`,
        `txt/<speaker>/<speaker>_<number>.txt` and `speaker-info.txt`.

    Raises
    ------
    ValueError
        When a size is out of range.
    ImportError
        When `espeakng-loader` is missing.
    PermissionError
        When `folder` cannot be written.
    """
    plan = _Plan(
        voices=(train_voices, valid_voices, test_voices),
        common_sentences=common_sentences,
        own_sentences=own_sentences,
        seed=seed,
        sample_rate=sample_rate,
    )
    _check(plan)
    return make_once(
        folder,
        "synthetic-vctk",
        VCTK_FOLDER,
        asdict(plan),
        lambda corpus: _write_corpus(corpus, plan, progress),
    )


def _check(plan: _Plan) -> None:
    _speakers(plan)
    if min(plan.common_sentences, plan.own_sentences) < 0 or not _sentences_each(plan):
        raise ValueError(
            f"common_sentences {plan.common_sentences} and own_sentences {plan.own_sentences} "
            "must not be negative, and one of them above 0"
        )
    if plan.sample_rate < 8000:
        raise ValueError(f"sample_rate must be at least 8000 Hz, not {plan.sample_rate}")


def _speakers(plan: _Plan) -> Iterator[tuple[str, Voice]]:
    found: list[tuple[str, Voice]] = []
    for role, count in zip(get_args(Role), plan.voices, strict=True):
        voices = make_voices(_SPLITS[role], count, plan.seed)
        found.extend(zip(synthetic_speakers(role, count), voices, strict=True))
    return iter(found)


def _sentences_each(plan: _Plan) -> int:
    return plan.common_sentences + plan.own_sentences


def _write_corpus(corpus: Path, plan: _Plan, progress: bool) -> None:
    common = _draw(random.Random(f"common sentences {plan.seed}"), plan.common_sentences)
    lines = [_HEADER]
    total = sum(plan.voices) * _sentences_each(plan)
    with (
        Espeak() as espeak,
        tqdm(
            total=total,
            unit="sentence",
            desc="speaking the synthetic corpus",
            disable=not progress,
            mininterval=0.5,
        ) as bar,
    ):
        for speaker, voice in _speakers(plan):
            rng = random.Random(f"speaker {speaker} {plan.seed}")
            texts = common + _draw(rng, plan.own_sentences)
            for _ in _write_speaker(espeak, corpus, speaker, voice, texts, rng, plan):
                bar.update()
            accent = voice.accent.removeprefix("gmw/")
            lines.append(f"{speaker}  --  {voice.sex}  {accent}  espeak-ng+{voice.variant}")
    (corpus / "speaker-info.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _draw(rng: random.Random, count: int) -> list[str]:
    """Draw sentences, no two of them alike."""
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw_sentence(rng)] = None
    return list(found)


def _write_speaker(
    espeak: Espeak,
    corpus: Path,
    speaker: str,
    voice: Voice,
    texts: Sequence[str],
    rng: random.Random,
    plan: _Plan,
) -> Iterator[None]:
    """Write one speaker's sentences; yields after each."""
    audio, words = corpus / "wav48_silence_trimmed" / speaker, corpus / "txt" / speaker
    audio.mkdir(parents=True)
    words.mkdir(parents=True)
    for number, text in enumerate(texts, start=1):
        name = f"{speaker}_{number:03d}"
        samples = render(espeak, text, voice, rng, plan.sample_rate)
        path = audio / f"{name}_mic1.flac"
        soundfile.write(path, samples, plan.sample_rate, subtype="PCM_16")
        (words / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
        yield
