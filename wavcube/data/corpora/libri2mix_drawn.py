"""Mixtures drawn as LibriMix's were, from anything in LibriSpeech's layout."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torchaudio

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.data.mixing.mixtures import MixtureRow
from wavcube.data.mixing.noisy import read_noise
from wavcube.data.mixing.signals import MAX_PEAK, fit_lengths, loop_with_fades

# ranges of LibriMix, in LUFS
SPEECH_LOUDNESS = (-33.0, -25.0)
NOISE_LOUDNESS = (-38.0, -30.0)


class Levels(NamedTuple):
    """A signal and its loudness in LUFS."""

    wav: torch.Tensor
    loudness: float


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
    peak = float(torch.stack(fit_lengths(scaled, "max")).sum(0).abs().max())
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
