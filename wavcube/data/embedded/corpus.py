"""Speech that the package makes itself, in the folders of LibriSpeech."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from filelock import FileLock
from scipy.signal import firwin, resample_poly
from tqdm import tqdm

from wavcube.data.embedded.espeak import Espeak, Voice
from wavcube.data.embedded.text import draw_text, transcript
from wavcube.data.embedded.voices import SPLITS, make_voices

__all__ = ["CORPUS_FOLDER", "default_cache_folder", "make_embedded_corpus"]

logger = logging.getLogger(__name__)

CORPUS_FOLDER = "LibriSpeech"
_SUBSETS = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
_FIRST_SPEAKER = {"train": 1001, "dev": 2001, "test": 3001}
_MARKER = "complete.json"
# Part of a corpus's name: raise it when the text, the voices or the signal processing changes.
_VERSION = 1
_CHAPTERS = 2


@dataclass(frozen=True)
class _Plan:
    """Everything that the bytes of a corpus depend on."""

    minutes: tuple[float, float, float]
    voices: tuple[int, int, int]
    seed: int
    sample_rate: int
    version: int = _VERSION

    @property
    def name(self) -> str:
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"embedded-{digest[:12]}"


def default_cache_folder() -> Path:
    """Return the folder for things made once: `$XDG_CACHE_HOME/wavcube` or `~/.cache/wavcube`.

    Examples
    --------
    >>> default_cache_folder().name
    'wavcube'
    """
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "wavcube"


def make_embedded_corpus(
    folder: str | Path,
    *,
    train_minutes: float = 50.0,
    dev_minutes: float = 3.0,
    test_minutes: float = 3.0,
    train_voices: int = 48,
    dev_voices: int = 6,
    test_voices: int = 6,
    seed: int = 1234,
    sample_rate: int = 16000,
    progress: bool = True,
) -> Path:
    """Speak a corpus with espeak-ng, or return the one that an earlier call has finished.

    The splits share neither voices nor timbres. The same arguments give the same bytes. A corpus
    appears under its final name only when complete, and calls that run at the same time wait for
    each other.

    Parameters
    ----------
    folder : str | Path
        Where corpora are kept, for example `default_cache_folder()`; one subfolder for each set
        of arguments.
    train_minutes, dev_minutes, test_minutes : float
        Speech in train-clean-100, dev-clean and test-clean, shared evenly by the voices and
        rounded up to whole utterances.
    train_voices, dev_voices, test_voices : int
        Speakers in each.
    seed : int
        Draws voices and text.
    sample_rate : int
        Of the files, in Hz.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Path
        The corpus: `LibriSpeech/{train-clean-100,dev-clean,test-clean}/<speaker>/<chapter>/`
        with flac files and `.trans.txt`, and `SPEAKERS.TXT` at the top.

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
        minutes=(float(train_minutes), float(dev_minutes), float(test_minutes)),
        voices=(train_voices, dev_voices, test_voices),
        seed=seed,
        sample_rate=sample_rate,
    )
    _check(plan)
    target = Path(folder) / plan.name
    if _is_complete(target, plan):
        return target / CORPUS_FOLDER
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{plan.name}.lock"):
            # Another process may have finished it while this one waited.
            if not _is_complete(target, plan):
                _make(target, plan, progress)
    except PermissionError as error:
        raise PermissionError(
            f"cannot write the embedded corpus to {folder}: choose a folder you may write to"
        ) from error
    return target / CORPUS_FOLDER


def _check(plan: _Plan) -> None:
    for split, minutes, count in zip(SPLITS, plan.minutes, plan.voices, strict=True):
        if not 0 < minutes < float("inf"):
            raise ValueError(f"{split}_minutes must be positive, not {minutes}")
        make_voices(split, count, plan.seed)
    if plan.sample_rate < 8000:
        raise ValueError(f"sample_rate must be at least 8000 Hz, not {plan.sample_rate}")


def _is_complete(target: Path, plan: _Plan) -> bool:
    """Tell whether a finished corpus of this plan is there with every file and byte."""
    try:
        marker = json.loads((target / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return False
    same_plan = marker.get("plan") == json.loads(json.dumps(asdict(plan)))
    return same_plan and marker.get("contents") == _contents(target / CORPUS_FOLDER)


def _contents(corpus: Path) -> dict[str, int]:
    sizes = [path.stat().st_size for path in corpus.rglob("*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _make(target: Path, plan: _Plan, progress: bool) -> None:
    """Write the corpus to a temporary folder, marker last, and rename it."""
    for leftover in target.parent.glob(f".{plan.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    logger.info("making the embedded corpus in %s", target)
    partial = Path(tempfile.mkdtemp(".partial", f".{plan.name}.", target.parent))
    try:
        _write_corpus(partial / CORPUS_FOLDER, plan, progress)
        marker = {"plan": asdict(plan), "contents": _contents(partial / CORPUS_FOLDER)}
        (partial / _MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if target.exists():
            logger.warning("the embedded corpus in %s is incomplete: it is made anew", target)
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_corpus(corpus: Path, plan: _Plan, progress: bool) -> None:
    seconds = 60 * sum(plan.minutes)
    speakers: list[str] = []
    with (
        Espeak() as espeak,
        tqdm(
            total=round(seconds),
            unit="s",
            desc="speaking the embedded corpus",
            disable=not progress,
            mininterval=0.5,
        ) as bar,
    ):
        for split, minutes, count in zip(SPLITS, plan.minutes, plan.voices, strict=True):
            for index, voice in enumerate(make_voices(split, count, plan.seed)):
                speaker = _FIRST_SPEAKER[split] + index
                folder = corpus / _SUBSETS[split] / str(speaker)
                spoken = 0.0
                for duration in _write_speaker(espeak, folder, voice, 60 * minutes / count, plan):
                    spoken += duration
                    bar.update(min(round(duration), bar.total - bar.n))
                speakers.append(
                    f"{speaker:<4} | {voice.sex} | {_SUBSETS[split]:<16} | {spoken / 60:5.2f} | "
                    f"espeak-ng {voice.accent.removeprefix('gmw/')}+{voice.variant}"
                )
    header = [
        "; Synthetic speech, made by wavcube.data.embedded with espeak-ng",
        f"; {'ID':<4}|{'SEX':<3}| {'SUBSET':<17}|{'MINUTES':<7}| NAME",
    ]
    (corpus / "SPEAKERS.TXT").write_text("\n".join(header + speakers) + "\n", encoding="utf-8")


def _write_speaker(
    espeak: Espeak, folder: Path, voice: Voice, seconds: float, plan: _Plan
) -> Iterator[float]:
    """Write one speaker's chapters; yields the duration of each utterance in seconds."""
    speaker = folder.name
    rng = random.Random(f"speaker {speaker} {plan.seed}")
    for chapter in range(_CHAPTERS):
        name = f"{speaker}-{speaker}{chapter:02d}"
        (folder / f"{speaker}{chapter:02d}").mkdir(parents=True)
        lines: list[str] = []
        spoken = 0.0
        while spoken < seconds / _CHAPTERS:
            utterance = f"{name}-{len(lines):04d}"
            text = draw_text(rng)
            samples = _render(espeak, text, voice, rng, plan.sample_rate)
            path = folder / f"{speaker}{chapter:02d}" / f"{utterance}.flac"
            soundfile.write(path, samples, plan.sample_rate, subtype="PCM_16")
            lines.append(f"{utterance} {transcript(text)}\n")
            spoken += len(samples) / plan.sample_rate
            yield len(samples) / plan.sample_rate
        trans = folder / f"{speaker}{chapter:02d}" / f"{name}.trans.txt"
        trans.write_text("".join(lines), encoding="utf-8")


def _render(
    espeak: Espeak, text: str, voice: Voice, rng: random.Random, sample_rate: int
) -> np.ndarray:
    """Speak, resample and set the peak; `[T]` int16."""
    samples, source_rate = espeak.speak(text, voice, seed=rng.randrange(1, 2**31))
    waveform = _resample(samples.astype(np.float64), source_rate, sample_rate)
    peak = rng.uniform(0.25, 0.85)
    return np.round(waveform * (peak * 32767 / np.abs(waveform).max())).astype(np.int16)


def _resample(waveform: np.ndarray, source_rate: int, sample_rate: int) -> np.ndarray:
    if source_rate == sample_rate:
        return waveform
    common = math.gcd(source_rate, sample_rate)
    up, down = sample_rate // common, source_rate // common
    # scipy in float64 rather than torch: the result depends on no thread count, and rounding
    # to 16 bits hides what is left.
    return resample_poly(waveform, up, down, window=_low_pass(max(up, down)))


@lru_cache
def _low_pass(factor: int) -> np.ndarray:
    """Filter for a rational resampler: pass band to 95 % of the lower Nyquist rate."""
    return firwin(2 * 32 * factor + 1, 0.95 / factor, window=("kaiser", 9.0))
