"""Noises that the package makes itself: functions of a random generator, each file another one.

They are meant to be as various as real ones in what matters to an enhancer: spectrum, speed of
change, and whether they are tonal, impulsive or speech themselves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from wavcube.data.synthetic.corpus import make_voices, render
from wavcube.data.synthetic.espeak import Espeak
from wavcube.data.synthetic.once import make_once
from wavcube.data.synthetic.text import draw_sentence

__all__ = [
    "NOISES",
    "NoiseFolders",
    "babble",
    "clicks",
    "coloured",
    "gusts",
    "hum",
    "make_synthetic_noises",
    "motor",
    "room_response",
]

Generator = np.random.Generator

_BANDS = 24
_LOWEST_HZ = 30.0


def coloured(rng: Generator, size: int, sample_rate: int) -> np.ndarray:
    """Steady noise of a drawn colour, from brown to blue, with a drawn smooth equalisation.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws everything.
    size : int
        Samples.
    sample_rate : int
        In Hz.

    Returns
    -------
    np.ndarray
        float64 `[size]`, root mean square 1.

    Examples
    --------
    >>> noise = coloured(np.random.default_rng(0), 8000, 16000)
    >>> noise.shape, round(float(noise.std()), 2)
    ((8000,), 1.0)
    """
    frequencies = np.fft.rfftfreq(size, 1 / sample_rate).clip(min=_LOWEST_HZ)
    exponent = rng.uniform(-1.0, 2.0)
    gains_db = np.cumsum(rng.normal(0, 2.0, _BANDS))
    grid = np.geomspace(_LOWEST_HZ, sample_rate / 2, _BANDS)
    equalised = np.interp(np.log(frequencies), np.log(grid), gains_db)
    shape = frequencies ** (-exponent / 2) * 10 ** (equalised / 20)
    spectrum = shape * np.fft.rfft(rng.standard_normal(size))
    spectrum[0] = 0
    return _level(np.fft.irfft(spectrum, size))


def gusts(rng: Generator, size: int, sample_rate: int) -> np.ndarray:
    """Coloured noise that swells and fades, as wind, traffic and rustling do; see `coloured`."""
    rate_hz = rng.uniform(0.3, 6.0)
    depth_db = rng.uniform(4.0, 12.0)
    envelope = 10 ** (depth_db * _wander(rng, size, sample_rate, rate_hz) / 20)
    return _level(coloured(rng, size, sample_rate) * envelope)


def hum(rng: Generator, size: int, sample_rate: int) -> np.ndarray:
    """Harmonics of 50 or 60 Hz over a bed of coloured noise; see `coloured`."""
    time = np.arange(size) / sample_rate
    pitch = rng.choice([50.0, 60.0]) * (1 + rng.uniform(-0.002, 0.002))
    orders = np.arange(1, int(min(4000.0, 0.45 * sample_rate) / pitch))
    gains = rng.exponential(1.0, len(orders)) * orders ** -rng.uniform(0.5, 1.5)
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    tones = _level(
        sum(
            gain * np.sin(2 * np.pi * order * pitch * time + phase)
            for order, gain, phase in zip(orders, gains, phases, strict=True)
        )
    )
    bed = 10 ** (-rng.uniform(6.0, 20.0) / 20)
    return _level(tones + bed * coloured(rng, size, sample_rate))


def motor(rng: Generator, size: int, sample_rate: int) -> np.ndarray:
    """Harmonics of a pitch that drifts, beating, over coloured noise; see `coloured`."""
    pitch = rng.uniform(60.0, 300.0) * (1 + 0.15 * _wander(rng, size, sample_rate, 0.2))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    count = int(0.4 * sample_rate / pitch.max())
    gains = rng.exponential(1.0, count) / np.arange(1, count + 1) ** rng.uniform(0.5, 1.2)
    tones = _level(sum(gain * np.sin(n * phase) for n, gain in enumerate(gains, start=1)))
    beat = 1 + 0.5 * np.sin(phase / rng.integers(4, 12))
    bed = 10 ** (-rng.uniform(0.0, 12.0) / 20)
    return _level(tones * beat + bed * coloured(rng, size, sample_rate))


def clicks(rng: Generator, size: int, sample_rate: int) -> np.ndarray:
    """Knocks at random times: decaying resonances over quiet coloured noise; see `coloured`."""
    noise = 10 ** (-rng.uniform(15.0, 30.0) / 20) * coloured(rng, size, sample_rate)
    per_second = rng.uniform(1.0, 12.0)
    for start in np.flatnonzero(rng.random(size) < per_second / sample_rate).tolist():
        length = min(size - start, int(0.15 * sample_rate))
        time = np.arange(length) / sample_rate
        decay = np.exp(-time / rng.uniform(0.002, 0.03))
        ring = np.sin(2 * np.pi * rng.uniform(200.0, 5000.0) * time)
        hiss = rng.uniform(0.0, 1.0) * rng.standard_normal(length)
        noise[start : start + length] += rng.uniform(1.0, 6.0) * decay * (ring + hiss)
    return _level(noise)


def babble(rng: Generator, size: int, speech: Sequence[np.ndarray], talkers: int) -> np.ndarray:
    """Several people at once, none of whom can be followed.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws who talks, when, and how loud.
    size : int
        Samples.
    speech : Sequence[np.ndarray]
        Utterances `[T]`.
    talkers : int
        People.

    Returns
    -------
    np.ndarray
        float64 `[size]`, root mean square 1.

    Raises
    ------
    ValueError
        If nobody talks.

    Examples
    --------
    >>> babble(np.random.default_rng(0), 500, [np.ones(80), np.ones(90)], talkers=3).shape
    (500,)
    """
    if not speech or talkers < 1:
        raise ValueError(f"babble needs utterances ({len(speech)}) and talkers ({talkers})")
    mixture = np.zeros(size)
    for _ in range(talkers):
        order = [speech[place] for place in rng.permutation(len(speech))]
        line = np.concatenate([_level(piece.astype(np.float64)) for piece in order])
        line = np.resize(np.roll(line, int(rng.integers(len(line)))), size)
        mixture += 10 ** (rng.uniform(-6.0, 0.0) / 20) * line
    return _level(mixture)


def room_response(rng: Generator, sample_rate: int) -> np.ndarray:
    """Impulse response of a drawn room: direct sound, some reflections, a decaying tail.

    Exponentially decaying noise (Polack, "La transmission de l'energie sonore dans les salles",
    1988) behind a direct sound, for reverberation times from 0.15 to 0.7 s.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the room.
    sample_rate : int
        In Hz.

    Returns
    -------
    np.ndarray
        float64 `[T]`, largest sample 1.

    Examples
    --------
    >>> float(room_response(np.random.default_rng(0), 16000).max())
    1.0
    """
    reverberation = rng.uniform(0.15, 0.7)
    time = np.arange(int(reverberation * sample_rate)) / sample_rate
    direct = int(0.002 * sample_rate)
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / reverberation)
    # nothing arrives within the first milliseconds after the direct sound
    tail[: direct + int(rng.uniform(0.003, 0.01) * sample_rate)] = 0
    ratio_db = rng.uniform(0.0, 12.0)
    response = tail * 10 ** (-ratio_db / 20) / np.linalg.norm(tail)
    for delay in rng.uniform(0.003, 0.04, 4):
        response[direct + int(delay * sample_rate)] += rng.uniform(-0.4, 0.4)
    response[direct] = 1.0
    return response / np.abs(response).max()


# by name; babble, which needs speech, is made apart
NOISES: dict[str, Callable[[Generator, int, int], np.ndarray]] = {
    "coloured": coloured,
    "gusts": gusts,
    "hum": hum,
    "motor": motor,
    "clicks": clicks,
}


def _level(noise: np.ndarray) -> np.ndarray:
    """Give a signal a root mean square of 1."""
    return noise / np.sqrt(np.mean(np.square(noise)))


def _wander(rng: Generator, size: int, sample_rate: int, rate_hz: float) -> np.ndarray:
    """Draw a slow curve around 0 with a standard deviation near 1, `[size]`."""
    points = max(4, int(size / sample_rate * rate_hz) + 2)
    return np.interp(
        np.linspace(0, points - 1, size), np.arange(points), rng.standard_normal(points)
    )


_FOLDER = "noise"
_ROLES = {"train": "train", "valid": "dev", "test": "test"}
_BABBLE_VOICES, _SENTENCES = 6, 2
_TALKERS = (3, 9)
_PEAK = 0.7
# Part of the folder's name: raise it when anything that is written changes.
_VERSION = 1


class NoiseFolders(NamedTuple):
    """Folders of one role.

    Attributes
    ----------
    noises : Path
        Noises.
    rooms : Path
        Room impulse responses.
    """

    noises: Path
    rooms: Path


@dataclass(frozen=True)
class _Plan:
    """Everything that the bytes depend on."""

    seconds: float
    files: tuple[int, int, int]
    rooms: int
    seed: int
    sample_rate: int
    version: int = _VERSION


def make_synthetic_noises(
    folder: str | Path,
    *,
    seconds: float = 12.0,
    train_files: int = 8,
    valid_files: int = 2,
    test_files: int = 2,
    rooms: int = 8,
    seed: int = 1234,
    sample_rate: int = 16000,
    progress: bool = True,
) -> dict[str, NoiseFolders]:
    """Make noises and rooms, or return those that an earlier call has finished.

    There are coloured noise, gusts, hum, motors, clicks, and babble of synthetic voices. No file,
    and no voice of the babble, serves two roles. The same arguments give the same files.

    Parameters
    ----------
    folder : str | Path
        Where made things are kept, for example `default_cache_folder()`.
    seconds : float
        Length of a noise.
    train_files, valid_files, test_files : int
        Files of each kind of noise.
    rooms : int
        Room impulse responses of each role.
    seed : int
        Draws everything.
    sample_rate : int
        Of the files, in Hz.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, NoiseFolders]
        Of "train", "valid" and "test".

    Raises
    ------
    ValueError
        When a size is out of range.
    ImportError
        When `espeakng-loader` is missing.
    PermissionError
        When `folder` cannot be written.
    """
    files = (train_files, valid_files, test_files)
    plan = _Plan(float(seconds), files, rooms, seed, sample_rate)
    if not 0.1 <= plan.seconds <= 600 or min(*files, rooms) < 1 or sample_rate < 8000:
        raise ValueError(
            f"noises last 0.1 to 600 s, not {seconds}; there is at least 1 file of each kind and 1 "
            f"room, not {files} and {rooms}; the rate is at least 8000 Hz, not {sample_rate}"
        )
    made = make_once(
        folder,
        "synthetic-noise",
        _FOLDER,
        asdict(plan),
        lambda target: _write(target, plan, progress),
    )
    return {role: NoiseFolders(made / role / "noises", made / role / "rooms") for role in _ROLES}


def _write(target: Path, plan: _Plan, progress: bool) -> None:
    total = sum(plan.files) * (len(NOISES) + 1) + len(_ROLES) * plan.rooms
    with tqdm(total=total, unit="file", desc="making noises", disable=not progress) as bar:
        for role, count in zip(_ROLES, plan.files, strict=True):
            for path, samples in _files(target / role, role, count, plan):
                path.parent.mkdir(parents=True, exist_ok=True)
                rounded = np.round(samples * (_PEAK * 32767 / np.abs(samples).max()))
                soundfile.write(path, rounded.astype(np.int16), plan.sample_rate, subtype="PCM_16")
                bar.update()


def _files(folder: Path, role: str, count: int, plan: _Plan) -> Iterator[tuple[Path, np.ndarray]]:
    size = round(plan.seconds * plan.sample_rate)
    place = list(_ROLES).index(role)
    speech = _speak(role, plan)
    for index in range(count):
        kinds = enumerate(NOISES.items(), start=1)
        for number, (name, make) in kinds:
            rng = np.random.default_rng((plan.seed, place, number, index))
            yield folder / "noises" / f"{name}_{index}.flac", make(rng, size, plan.sample_rate)
        rng = np.random.default_rng((plan.seed, place, 0, index))
        talkers = int(rng.integers(*_TALKERS))
        samples = babble(rng, size, speech, talkers)
        yield folder / "noises" / f"babble_{index}.flac", samples
    for index in range(plan.rooms):
        rng = np.random.default_rng((plan.seed, place, len(NOISES) + 1, index))
        response = room_response(rng, plan.sample_rate)
        yield folder / "rooms" / f"room_{index}.flac", response


def _speak(role: str, plan: _Plan) -> list[np.ndarray]:
    """Let some voices of a role talk, for the babble."""
    rng = random.Random(f"babble {role} {plan.seed}")
    # another seed: the pitches and rates are not those of the corpora's speakers
    voices = make_voices(_ROLES[role], _BABBLE_VOICES, plan.seed + 1)
    with Espeak() as espeak:
        return [
            render(espeak, draw_sentence(rng), voice, rng, plan.sample_rate)
            for voice in voices
            for _ in range(_SENTENCES)
        ]
