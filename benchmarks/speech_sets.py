"""Speech to compare representations on: folders of recordings, or the synthetic test voices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wavcube.data.audio import inspect_audio, read_audio
from wavcube.data.manifest import evenly_spaced
from wavcube.data.synthetic import default_cache_folder, make_synthetic_corpus
from wavcube.metrics.folders import audio_files, find_transcripts

Seconds = float
SYNTHETIC = "synthetic"
_VCTK_NAME = re.compile(r"(.+_\d+)(_mic\d)?")


@dataclass(frozen=True)
class SpeechSet:
    """Whole recordings.

    Parameters
    ----------
    name : str
        Heading of its table.
    clips : dict of str to Tensor
        Waveforms `[T]` by name.
    transcripts : dict of str to str
        What is said, where it is known.
    """

    name: str
    clips: dict[str, Tensor]
    transcripts: dict[str, str]


def read_sets(
    sources: Sequence[str], sample_rate: int, utterances: int, shortest: Seconds = 0.0
) -> list[SpeechSet]:
    """Read sets: folders, or "synthetic" for the test voices of the default synthetic corpus.

    Of the utterances that are long enough at most so many are taken of each set, at even distances
    in the order of their names.
    """
    titles = [Path(source).name for source in sources]
    if len(set(titles)) < len(titles):
        raise ValueError(f"every set needs a name of its own, the folders are called {titles}")
    sets = []
    for title, source in zip(titles, sources, strict=True):
        folder = synthetic_test_voices() if source == SYNTHETIC else Path(source)
        files, texts = audio_files(folder), find_transcripts(folder)
        names = [clip for clip in files if inspect_audio(files[clip]).duration >= shortest]
        if not names:
            raise ValueError(f"{folder} has no audio files of {shortest} s and more")
        chosen = evenly_spaced(names, utterances)
        clips = {clip: read_audio(files[clip], sample_rate) for clip in chosen}
        found = {clip: texts.get(clip) or _vctk_transcript(files[clip]) for clip in chosen}
        sets.append(SpeechSet(title, clips, {clip: text for clip, text in found.items() if text}))
    return sets


def synthetic_test_voices() -> Path:
    """Make the default corpus's test split, which does not depend on how much else is spoken."""
    corpus = make_synthetic_corpus(
        default_cache_folder(), train_minutes=0.05, dev_minutes=0.05, train_voices=1, dev_voices=1
    )
    return corpus / "test-clean"


def _vctk_transcript(path: Path) -> str | None:
    """Find `txt/SPEAKER/NAME.txt` beside VCTK's `wav48*/SPEAKER/NAME_mic1.flac`."""
    path, match = path.resolve(), _VCTK_NAME.fullmatch(path.stem)
    if match is None or len(path.parents) < 3:
        return None
    text = path.parents[2] / "txt" / path.parent.name / f"{match[1]}.txt"
    return text.read_text(encoding="utf-8").strip() if text.is_file() else None
