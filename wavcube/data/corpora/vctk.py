"""VCTK 0.80 and 0.92 to manifests.

J. Yamagishi, C. Veaux, K. MacDonald, "CSTR VCTK Corpus: English multi-speaker corpus for CSTR voice
cloning toolkit", https://doi.org/10.7488/ds/2645. Version 0.80 has `wav48/p225/p225_001.wav`;
0.92 has `wav48_silence_trimmed/p225/p225_001_mic1.flac` and, for most speakers, `_mic2`. Both have
`txt/p225/p225_001.txt`. Recordings are at 48 kHz; whoever reads them resamples.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from wavcube.data.manifest import Utterance
from wavcube.data.prepare import (
    Made,
    check_files,
    find_audio,
    prepare_once,
    split_by_name,
)
from wavcube.data.synthetic import default_cache_folder, make_synthetic_vctk, synthetic_speakers
from wavcube.data.texts import read_text

logger = logging.getLogger(__name__)

AUDIO_FOLDERS = ("wav48_silence_trimmed", "wav48")
Microphone = Literal["mic1", "mic2"]


def prepare_vctk(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    valid_speakers: Sequence[str],
    test_speakers: Sequence[str],
    microphone: Microphone = "mic1",
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Write the manifests of train, valid and test; at once when an earlier call has.

    Parameters
    ----------
    data_folder : str | Path
        The folder that holds `wav48` or `wav48_silence_trimmed`, and `txt`.
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when files were left out.
    valid_speakers, test_speakers : Sequence[str]
        Speakers by their folders' names; all others are for training.
    microphone : {"mic1", "mic2"}
        Which of 0.92's two. Speakers without it are left out and logged (p280 and p315 have no
        mic2). In 0.80 there is one.
    max_bad_fraction : float
        How many files may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test"; `$data_root` in them stands for `data_folder`.

    Raises
    ------
    FileNotFoundError
        When the folder holds neither version.
    ValueError
        When a speaker is unknown or in two sets, nobody is left to train on, a transcript is
        empty or too many files are bad.
    """
    data_folder = Path(data_folder)
    audio = find_audio_folder(data_folder)
    files = find_audio(audio)
    transcripts = sorted((data_folder / "txt").glob("*/*.txt"))
    arguments = {
        "data_folder": str(data_folder.resolve()),
        "valid_speakers": list(valid_speakers),
        "test_speakers": list(test_speakers),
        "microphone": microphone,
        "max_bad_fraction": max_bad_fraction,
    }

    def make() -> Made:
        rows = list_utterances(audio, files, data_folder / "txt", microphone)
        chosen = {"valid": valid_speakers, "test": test_speakers}
        split_by_name(rows, chosen)  # a speaker that is not there, before every file is opened
        scan = check_files(rows, max_bad_fraction=max_bad_fraction, progress=progress)
        return split_by_name(scan.utterances, chosen), scan.bad

    sources = [*files, *transcripts]
    return prepare_once(out_folder, arguments, sources, make, data_root=data_folder)


def is_vctk(folder: Path) -> bool:
    """Tell whether a folder holds recordings in one of VCTK's layouts."""
    return any((folder / name).is_dir() for name in AUDIO_FOLDERS)


def find_audio_folder(data_folder: Path) -> Path:
    """Find the folder with the recordings, of either version."""
    for name in AUDIO_FOLDERS:
        if (data_folder / name).is_dir():
            return data_folder / name
    inner = [path for path in data_folder.glob("VCTK*") if path.is_dir()]
    hint = f"; pass {inner[0]}" if inner else ""
    raise FileNotFoundError(f"{data_folder} has no folder {' or '.join(AUDIO_FOLDERS)}{hint}")


def list_utterances(
    audio: Path, files: Sequence[Path], texts: Path, microphone: Microphone
) -> list[Utterance]:
    """List one microphone's utterances with speakers and, where there are any, transcripts.

    Both versions give the same IDs, "p225_001", so that sentences can be matched across them.
    """
    rows: list[Utterance] = []
    speakers = {path.relative_to(audio).parts[0] for path in files}
    for path in files:
        inside = path.relative_to(audio)
        if len(inside.parts) != 2:
            raise ValueError(f"{path} is not in a speaker's folder: {audio}/<speaker>/<file>")
        name, _, source = path.stem.partition("_mic")
        if source and f"mic{source}" != microphone:
            continue
        speaker = inside.parts[0]
        words = read_transcript(texts / speaker / f"{name}.txt")
        rows.append(Utterance(name, 0.0, str(path), speaker, words))
    without = sorted(speakers - {row.spk_id for row in rows})
    if without:
        logger.warning("left out, without %s: speakers %s", microphone, ", ".join(without))
    return rows


def read_transcript(path: Path) -> str:
    """Read one transcript; "" where there is none (those of speaker p315 are lost)."""
    if not path.is_file():
        return ""
    words = " ".join(read_text(path).split())
    if not words:
        raise ValueError(f"{path}: the transcript is empty")
    return words


def synthetic_vctk(hparams: Mapping[str, Any]) -> Path:
    """Make the package's own speech in VCTK's layout, or find it in the cache."""
    cache = hparams["synthetic_folder"] or default_cache_folder()
    return make_synthetic_vctk(cache, **hparams["synthetic"])


def extra_folders(hparams: Mapping[str, Any]) -> list[str | Path]:
    """List what a recipe trains on beside its corpus, a folder for each synthetic speaker."""
    further = list(hparams["training_folders"])
    if hparams["add_synthetic"] and hparams["data_folder"] is not None:
        spoken = synthetic_vctk(hparams) / AUDIO_FOLDERS[0]
        names = synthetic_speakers("train", hparams["synthetic"]["train_voices"])
        further += [spoken / name for name in names]
    return further
