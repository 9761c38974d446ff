"""Speech that the package makes itself, in the folders of LibriSpeech."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import firwin, resample_poly
from tqdm import tqdm

from wavcube.data.synthetic.espeak import Espeak, Voice
from wavcube.data.synthetic.once import make_once
from wavcube.data.synthetic.text import draw_text, transcript

__all__ = [
    "CORPUS_FOLDER",
    "SPLITS",
    "make_synthetic_corpus",
    "make_voices",
    "render",
    "resample",
]


def render(
    espeak: Espeak, text: str, voice: Voice, rng: random.Random, sample_rate: int
) -> np.ndarray:
    """Speak, resample and set the peak.

    Parameters
    ----------
    espeak : Espeak
        Speaks.
    text : str
        What to say.
    voice : Voice
        How to say it.
    rng : random.Random
        Draws the noise of the voice, and the peak from 0.25 to 0.85.
    sample_rate : int
        Wanted, in Hz.

    Returns
    -------
    np.ndarray
        int16 `[T]`.

    Examples
    --------
    >>> with Espeak() as espeak:
    ...     voice, rng = Voice("gmw/en", "f1", "F"), random.Random(1)
    ...     render(espeak, "Hello.", voice, rng, 16000).dtype
    dtype('int16')
    """
    samples, source_rate = espeak.speak(text, voice, seed=rng.randrange(1, 2**31))
    waveform = resample(samples.astype(np.float64), source_rate, sample_rate)
    peak = rng.uniform(0.25, 0.85)
    return np.round(waveform * (peak * 32767 / np.abs(waveform).max())).astype(np.int16)


def resample(waveform: np.ndarray, source_rate: int, sample_rate: int) -> np.ndarray:
    """Change the rate of `[T]`.

    Parameters
    ----------
    waveform : np.ndarray
        float64 `[T]`.
    source_rate, sample_rate : int
        Present and wanted, in Hz.

    Returns
    -------
    np.ndarray
        float64 `[ceil(T * sample_rate / source_rate)]`.

    Examples
    --------
    >>> resample(np.ones(441), 22050, 16000).shape
    (320,)
    """
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


SPLITS = ("train", "dev", "test")

_ACCENTS = (
    "gmw/en-US",
    "gmw/en",
    "gmw/en-GB-scotland",
    "gmw/en-GB-x-rp",
    "gmw/en-US-nyc",
    "gmw/en-GB-x-gbclan",
    "gmw/en-029",
    "gmw/en-GB-x-gbcwmd",
)

# A variant is a timbre, so no variant serves two splits. Left out are robots, whispers, near
# copies, variants that clip, and the two ("Reed", "caleb") whose samples differ from run to run.
_VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "F": ("f1", "Alicia", "belinda", "f3", "grandma", "Andrea", "f5", "anika", "shelby"),
        "M": (
            *("m1", "Andy", "Denis", "m2", "Henrique", "pablo", "m5", "Lee", "Mario", "m6"),
            *("Hugo", "Michael", "m7", "Nguyen", "boris", "m8", "croak", "max", "david"),
            *("grandpa", "ian", "iven3", "john", "klatt3", "marcelo", "miguel", "quincy"),
            *("pedro", "rob", "sandro", "edward", "Alex"),
        ),
    },
    "dev": {"F": ("f4", "Annie", "linda"), "M": ("m4", "michel", "victor", "Mike")},
    "test": {"F": ("f2", "aunty", "steph"), "M": ("m3", "Diogo", "norbert", "travis")},
}


def make_voices(split: str, count: int, seed: int) -> list[Voice]:
    """List `count` different voices, female and male in turn, shared with no other split.

    Parameters
    ----------
    split : str
        "train", "dev" or "test".
    count : int
        How many voices. A variant comes back with another accent when all have been used.
    seed : int
        Draws pitch, pitch range and rate.

    Raises
    ------
    ValueError
        When the split has fewer voices than that.

    Examples
    --------
    >>> [voice.sex for voice in make_voices("dev", 3, seed=1)]
    ['F', 'M', 'F']
    """
    variants = _VARIANTS[split]
    limit = 2 * len(_ACCENTS) * min(len(names) for names in variants.values())
    if not 1 <= count <= limit:
        raise ValueError(f"{split} has from 1 to {limit} voices, not {count}")
    rng = random.Random(f"voices {split} {seed}")
    return [_voice(variants, index, rng) for index in range(count)]


def _voice(variants: dict[str, tuple[str, ...]], index: int, rng: random.Random) -> Voice:
    sex = "FM"[index % 2]
    turn, place = divmod(index // 2, len(variants[sex]))
    return Voice(
        # one step further at every turn, so that no pair of accent and variant comes twice
        accent=_ACCENTS[(place + turn + 4 * (index % 2)) % len(_ACCENTS)],
        variant=variants[sex][place],
        sex=sex,
        pitch=rng.randint(32, 68),
        pitch_range=rng.randint(35, 80),
        rate=rng.randint(140, 200),
    )


CORPUS_FOLDER = "LibriSpeech"
_SUBSETS = {"train": "train-clean-100", "dev": "dev-clean", "test": "test-clean"}
_FIRST_SPEAKER = {"train": 1001, "dev": 2001, "test": 3001}
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


def make_synthetic_corpus(
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
    return make_once(
        folder,
        "synthetic",
        CORPUS_FOLDER,
        asdict(plan),
        lambda corpus: _write_corpus(corpus, plan, progress),
    )


def _check(plan: _Plan) -> None:
    for split, minutes, count in zip(SPLITS, plan.minutes, plan.voices, strict=True):
        if not 0 < minutes < float("inf"):
            raise ValueError(f"{split}_minutes must be positive, not {minutes}")
        make_voices(split, count, plan.seed)
    if plan.sample_rate < 8000:
        raise ValueError(f"sample_rate must be at least 8000 Hz, not {plan.sample_rate}")


def _write_corpus(corpus: Path, plan: _Plan, progress: bool) -> None:
    seconds = 60 * sum(plan.minutes)
    speakers: list[str] = []
    with (
        Espeak() as espeak,
        tqdm(
            total=round(seconds),
            unit="s",
            desc="speaking the synthetic corpus",
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
        "; Synthetic speech, made by wavcube.data.synthetic with espeak-ng",
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
            samples = render(espeak, text, voice, rng, plan.sample_rate)
            path = folder / f"{speaker}{chapter:02d}" / f"{utterance}.flac"
            soundfile.write(path, samples, plan.sample_rate, subtype="PCM_16")
            lines.append(f"{utterance} {transcript(text)}\n")
            spoken += len(samples) / plan.sample_rate
            yield len(samples) / plan.sample_rate
        trans = folder / f"{speaker}{chapter:02d}" / f"{name}.trans.txt"
        trans.write_text("".join(lines), encoding="utf-8")
