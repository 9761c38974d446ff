"""Noises that the package makes itself: functions of a random generator, each file another one.

They are meant to be as various as real ones in what matters to an enhancer: spectrum, speed of
change, and whether they are tonal, impulsive or speech themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["NOISES", "babble", "clicks", "coloured", "gusts", "hum", "motor", "room_response"]

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
