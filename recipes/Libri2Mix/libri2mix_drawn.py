"""Mixtures drawn as LibriMix's were, from anything in LibriSpeech's layout."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torchaudio
from libri2mix_manifests import describe, write_manifests

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.data.mixing.mixtures import MixtureRow
from wavcube.data.mixing.noise_sets import share_out_noises
from wavcube.data.mixing.noisy import read_noise
from wavcube.data.mixing.signals import MAX_PEAK, fit_lengths, loop_with_fades
from wavcube.data.prepare import prepared_manifests
from wavcube.data.scan import BadFile, check_files, find_audio, scan_audio_folder
from wavcube.data.splits import hold_back_speakers

# names of splits begin so: train-clean-100, train-100, dev-clean, dev, test-clean, test
ROLES = {"train": "train", "valid": "dev", "test": "test"}
# folders of WHAM's noise
WHAM = {"train": "tr", "valid": "cv", "test": "tt"}
# ranges of LibriMix, in LUFS
SPEECH_LOUDNESS = (-33.0, -25.0)
NOISE_LOUDNESS = (-38.0, -30.0)


class Levels(NamedTuple):
    """A signal and its loudness in LUFS."""

    wav: torch.Tensor
    loudness: float


def prepare_drawn(
    data_folder: str | Path,
    out_folder: str | Path,
    *,
    sample_rate: int,
    counts: Mapping[str, int | None],
    mode: Literal["min", "max"] = "min",
    noise_folder: str | Path | Mapping[str, Path] | None = None,
    min_seconds: float = 1.0,
    held_back_roles: Sequence[str] = (),
    held_back_speakers: int = 20,
    seed: int = 1234,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Draw the metadata of train, valid and test, and write their manifests.

    Parameters
    ----------
    data_folder : str | Path
        Anything in LibriSpeech's layout, the embedded corpus too, with splits whose names begin
        with "train" and, where there are any, "dev" and "test".
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when some were left out.
    sample_rate : int
        At which levels are measured, in Hz.
    counts : Mapping[str, int | None]
        Mixtures of "train", "valid" and "test"; None for as many as use every utterance once.
    mode : {"min", "max"}
        Of the durations in the manifests, and of the dataset that reads them.
    noise_folder : str | Path | Mapping[str, Path] | None
        For noisy mixtures: a folder for each role, WHAM's with `tr`, `cv` and `tt`, or any, whose
        files are then shared out among the roles.
    min_seconds : float
        Shorter utterances are left out; LibriMix itself takes 3 s.
    held_back_roles : Sequence[str]
        Of "valid" and "test", those that get training speakers whatever splits there are.
    held_back_speakers : int
        Training speakers for each role that is held back, or that has no split of its own.
    seed : int
        Draws everything.
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
        When a folder is missing.
    ValueError
        When there is no training split, a role has fewer than two speakers, two roles share a
        speaker, or too many files are bad.
    """
    data_folder = Path(data_folder)
    if unknown := sorted(set(held_back_roles) - {"valid", "test"}):
        raise ValueError(f"held_back_roles are of 'valid' and 'test', not {unknown}")
    noises = _find_noises(noise_folder, max_bad_fraction)
    files = {
        role: [path for split in _splits(data_folder, prefix) for path in find_audio(split)]
        for role, prefix in ROLES.items()
        if role == "train" or role not in held_back_roles
    }
    arguments = {
        "max_bad_fraction": max_bad_fraction,
        "mode": mode,
        "counts": dict(counts),
        "min_seconds": min_seconds,
        "held_back": [sorted(held_back_roles), held_back_speakers],
        "seed": seed,
        "sample_rate": sample_rate,
    }
    sources = [Path(row.wav) for found in noises.values() for row in found]
    sources += [path for found in files.values() for path in found]
    complete = describe(arguments, sources, data_folder)
    done = prepared_manifests(out_folder, complete)
    if done is not None:
        return done
    rows, bad = _usable_utterances(files, data_folder, min_seconds, max_bad_fraction, progress)
    for role in ("valid", "test"):
        if not rows.get(role):
            rows["train"], rows[role] = hold_back_speakers(rows["train"], held_back_speakers, seed)
    settings = {"sample_rate": sample_rate, "seed": seed}
    drawn = {
        role: draw_mixtures(found, noises[role], counts[role], **settings, role=role)
        for role, found in rows.items()
    }
    places = drawn, complete, data_folder, out_folder
    return write_manifests(*places, max_bad_fraction, progress, bad)


def _usable_utterances(
    files: Mapping[str, Sequence[Path]],
    data_folder: Path,
    min_seconds: float,
    max_bad_fraction: float,
    progress: bool,
) -> tuple[dict[str, list[Utterance]], list[BadFile]]:
    """Look into the files of each role: those that are long enough, and the bad ones of all."""
    rows = {
        role: [_utterance(path, data_folder) for path in found] for role, found in files.items()
    }
    scan = check_files(
        [row for found in rows.values() for row in found],
        max_bad_fraction=max_bad_fraction,
        progress=progress,
    )
    usable = {row.wav: row for row in scan.utterances if row.duration >= min_seconds}
    kept = {
        role: [usable[row.wav] for row in found if row.wav in usable]
        for role, found in rows.items()
    }
    return kept, scan.bad


def draw_mixtures(
    utterances: Sequence[Utterance],
    noises: Sequence[Utterance],
    count: int | None,
    *,
    sample_rate: int,
    seed: int,
    role: str = "these",
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
    count : int | None
        Mixtures wanted; None for one pass over the utterances.
    sample_rate : int
        At which loudness and peak are measured, in Hz.
    seed : int
        Draws pairs, noises and levels.
    role : str
        Of the utterances, for messages.

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
        raise ValueError(
            f"mixtures need two speakers at the least, of {role} there are: {speakers}"
        )
    rng = random.Random(seed)
    rows: list[MixtureRow] = []
    for pair in draw_pairs(utterances, len(utterances) // 2 if count is None else count, rng):
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
    signals = [measure(row.wav, read_audio(row.wav, sample_rate), sample_rate) for row in pair]
    targets = [rng.uniform(*SPEECH_LOUDNESS) for _ in pair]
    longest = max(len(signal.wav) for signal in signals)
    if noise is not None:
        found = measure(noise.wav, read_noise(noise.wav, sample_rate), sample_rate)
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
        spk_id="_".join(row.spk_id for row in pair),
    )


def measure(path: str, wav: torch.Tensor, sample_rate: int) -> Levels:
    """Measure the loudness of what a file holds."""
    # BS.1770 looks at blocks of 0.4 s
    long_enough = len(wav) >= 0.4 * sample_rate
    loudness = (
        float(torchaudio.functional.loudness(wav[None], sample_rate)) if long_enough else math.nan
    )
    if not math.isfinite(loudness):
        raise ValueError(f"{path} is silent or shorter than 0.4 s: it has no loudness")
    return Levels(wav, loudness)


def _splits(data_folder: Path, prefix: str) -> list[Path]:
    if not data_folder.is_dir():
        raise FileNotFoundError(f"there is no folder {data_folder}")
    found = sorted(path for path in data_folder.glob(f"{prefix}-*") if path.is_dir())
    if not found and prefix == ROLES["train"]:
        raise ValueError(f"{data_folder} has no split whose name begins with {prefix!r}")
    return found


def _find_noises(
    folder: str | Path | Mapping[str, Path] | None, max_bad_fraction: float
) -> dict[str, list[Utterance]]:
    """List the noises of each role; no file serves two of them."""
    if folder is None:
        return {role: [] for role in ROLES}
    own = folder
    if not isinstance(folder, Mapping):
        own = {role: Path(folder, name) for role, name in WHAM.items()}
        if not all(path.is_dir() for path in own.values()):
            return share_out_noises(folder, max_bad_fraction=max_bad_fraction)
    return {
        role: scan_audio_folder(path, max_bad_fraction=max_bad_fraction).utterances
        for role, path in own.items()
    }


def _utterance(path: Path, data_folder: Path) -> Utterance:
    """Name a file and its speaker: the folder in the split."""
    inside = path.relative_to(data_folder).with_suffix("").parts[1:]
    speaker = inside[0] if len(inside) > 1 else ""
    # LibriSpeech's names say speaker and chapter themselves
    name = path.stem if path.stem.startswith(f"{speaker}-") else "-".join(inside)
    return Utterance(name, 0.0, str(path), speaker)
