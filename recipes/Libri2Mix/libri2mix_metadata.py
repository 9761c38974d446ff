"""LibriMix's metadata: read as published, or drawn for any folder in LibriSpeech's layout.

J. Cosentino et al., "LibriMix: An open-source dataset for generalizable speech separation", arXiv
2005.11262; the published files are `metadata/Libri2Mix/libri2mix_<split>.csv` of
https://github.com/JorisCos/LibriMix, with one row for a mixture:
mixture_ID, source_1_path, source_1_gain, source_2_path, source_2_gain, noise_path, noise_gain.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torchaudio

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.data.mixing import MAX_PEAK, fit_lengths, loop_with_fades
from wavcube.data.mixtures import MixtureRow

COLUMNS = (
    "mixture_ID",
    "source_1_path",
    "source_1_gain",
    "source_2_path",
    "source_2_gain",
    "noise_path",
    "noise_gain",
)
# ranges of LibriMix, in LUFS
SPEECH_LOUDNESS = (-33.0, -25.0)
NOISE_LOUDNESS = (-38.0, -30.0)


class Levels(NamedTuple):
    """A signal, its loudness in LUFS and its path."""

    wav: torch.Tensor
    loudness: float
    path: str


def read_metadata(
    path: str | Path, speech_folder: str | Path, noise_folder: str | Path | None
) -> list[MixtureRow]:
    """Read a metadata file; paths in it are relative to the two folders.

    Parameters
    ----------
    path : str | Path
        CSV file with LibriMix's columns; others are passed over.
    speech_folder : str | Path
        LibriSpeech: the folder that holds `train-clean-100` and its like.
    noise_folder : str | Path | None
        `wham_noise`: the folder that holds `tr`, `cv` and `tt`. Without one the noise is left out
        and its columns may be missing.

    Returns
    -------
    list[MixtureRow]
        Without durations.

    Raises
    ------
    FileNotFoundError
        When the file, or one that it names, is missing.
    ValueError
        When a column is missing, a field is empty or a gain is no number above 0; each with the
        row's place.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no metadata file {path}")
    needed = COLUMNS if noise_folder is not None else COLUMNS[:5]
    rows: list[MixtureRow] = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in needed if name not in (reader.fieldnames or [])]
        if missing:
            raise ValueError(f"{path} has no column {', '.join(missing)}: not LibriMix's metadata")
        for number, fields in enumerate(reader, start=1):
            place = f"{path}, row {number}"
            empty = [name for name in needed if not (fields[name] or "").strip()]
            if empty:
                raise ValueError(f"{place}, column {empty[0]!r}: it is empty")
            rows.append(parse_row(fields, place, Path(speech_folder), noise_folder))
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    return rows


def parse_row(
    fields: dict[str, str], place: str, speech_folder: Path, noise_folder: str | Path | None
) -> MixtureRow:
    """Read one row; see `read_metadata`."""

    def locate(column: str, folder: str | Path) -> str:
        path = Path(folder, fields[column].strip())
        if not path.is_file():
            raise FileNotFoundError(f"{place}, column {column!r}: there is no file {path}")
        return str(path)

    def gain(column: str) -> float:
        try:
            value = float(fields[column])
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{place}, column {column!r}: {fields[column]!r} is no gain above 0")
        return value

    sources = tuple(locate(f"source_{i}_path", speech_folder) for i in (1, 2))
    speakers = sorted({Path(source).stem.partition("-")[0] for source in sources})
    if len(speakers) < 2:
        raise ValueError(f"{place}: both sources are of speaker {speakers[0]}")
    noisy = noise_folder is not None
    return MixtureRow(
        fields["mixture_ID"].strip(),
        sources,
        (gain("source_1_gain"), gain("source_2_gain")),
        locate("noise_path", noise_folder) if noisy else "",
        gain("noise_gain") if noisy else 0.0,
        spk_id="_".join(speakers),
    )


def draw_mixtures(
    utterances: Sequence[Utterance],
    noises: Sequence[Utterance],
    count: int,
    *,
    sample_rate: int,
    seed: int,
) -> list[MixtureRow]:
    """Draw mixtures of two speakers as LibriMix was drawn.

    Every utterance is used once before any is used again. Speech gets a loudness drawn from
    `SPEECH_LOUDNESS`, noise from `NOISE_LOUDNESS` (ITU-R BS.1770), uniformly; where the longest
    mixture's peak passes 0.9, all gains are lowered together.

    Parameters
    ----------
    utterances : Sequence[Utterance]
        With speakers.
    noises : Sequence[Utterance]
        None are needed for clean mixtures.
    count : int
        Mixtures wanted.
    sample_rate : int
        At which loudness and peak are measured, in Hz.
    seed : int
        Draws pairs, noises and levels.

    Returns
    -------
    list[MixtureRow]
        All pairs different; fewer than `count` where there are no more pairs.

    Raises
    ------
    ValueError
        When there are fewer than two speakers, or a file is silent or too short to have a loudness.
    """
    speakers = sorted({row.spk_id for row in utterances})
    if len(speakers) < 2 or "" in speakers:
        raise ValueError(f"mixtures need two speakers at the least, there are: {speakers}")
    rng = random.Random(seed)
    rows: list[MixtureRow] = []
    for pair in draw_pairs(utterances, count, rng):
        noise = rng.choice(noises) if noises else None
        rows.append(draw_gains(pair, noise, sample_rate, rng))
    return rows


def draw_pairs(
    utterances: Sequence[Utterance], count: int, rng: random.Random
) -> list[tuple[Utterance, Utterance]]:
    """Pair utterances of different speakers, each once in a pass, until there are enough."""
    pairs: list[tuple[Utterance, Utterance]] = []
    seen: set[frozenset[str]] = set()
    while len(pairs) < count:
        found = len(pairs)
        waiting = list(utterances)
        rng.shuffle(waiting)
        while waiting:
            first = waiting.pop()
            partners = (
                place
                for place, other in enumerate(waiting)
                if other.spk_id != first.spk_id and frozenset((first.wav, other.wav)) not in seen
            )
            place = next(partners, None)
            if place is None:
                continue
            second = waiting.pop(place)
            seen.add(frozenset((first.wav, second.wav)))
            pairs.append((first, second))
        if len(pairs) == found:
            break
    return pairs[:count]


def draw_gains(
    pair: tuple[Utterance, Utterance],
    noise: Utterance | None,
    sample_rate: int,
    rng: random.Random,
) -> MixtureRow:
    """Draw the levels of one mixture; see `draw_mixtures`."""
    signals = [measure(row.wav, sample_rate) for row in pair]
    targets = [rng.uniform(*SPEECH_LOUDNESS) for _ in pair]
    longest = max(len(signal.wav) for signal in signals)
    if noise is not None:
        found = measure(noise.wav, sample_rate)
        looped = loop_with_fades(found.wav, longest, sample_rate // 2 + 1)
        signals.append(found._replace(wav=looped))
        targets.append(rng.uniform(*NOISE_LOUDNESS))
    gains = [
        10 ** ((target - signal.loudness) / 20)
        for target, signal in zip(targets, signals, strict=True)
    ]
    scaled = [signal.wav * gain for signal, gain in zip(signals, gains, strict=True)]
    peak = float(sum(fit_lengths(scaled, "max")).abs().max())
    gains = [gain * min(1.0, MAX_PEAK / peak) for gain in gains]
    return MixtureRow(
        f"{pair[0].ID}_{pair[1].ID}",
        (pair[0].wav, pair[1].wav),
        (gains[0], gains[1]),
        "" if noise is None else noise.wav,
        0.0 if noise is None else gains[2],
        spk_id="_".join(sorted(row.spk_id for row in pair)),
    )


def measure(path: str, sample_rate: int) -> Levels:
    """Read a file and measure its loudness."""
    wav = read_audio(path, sample_rate)
    # BS.1770 looks at blocks of 0.4 s
    long_enough = len(wav) >= 0.4 * sample_rate
    loudness = (
        float(torchaudio.functional.loudness(wav[None], sample_rate)) if long_enough else math.nan
    )
    if not math.isfinite(loudness):
        raise ValueError(f"{path} is silent or shorter than 0.4 s: it has no loudness")
    return Levels(wav, loudness, path)
