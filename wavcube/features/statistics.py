"""Mean and standard deviation of every channel, merged from parts.

Chan, Golub, LeVeque, "Algorithms for computing the sample variance", 1983, equations 2.1: counts,
means and centred sums of squares of two parts give those of the whole, without the cancellation
that plain sums of squares suffer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ChannelStatistics:
    """What is known of some frames, in double precision.

    Attributes
    ----------
    count : int
        How many frames.
    mean : np.ndarray
        Of every channel, `[C]` or `[S, C]`.
    squares : np.ndarray
        Sums of squared deviations from the mean, of the same shape.

    Examples
    --------
    >>> parts = [np.array([[1.0], [2.0]]), np.array([[6.0]])]
    >>> whole = merge(ChannelStatistics.of(part) for part in parts)
    >>> whole.count, whole.mean, whole.std.round(4)
    (3, array([3.]), array([2.1602]))
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray) -> ChannelStatistics:
        """Measure frames.

        Parameters
        ----------
        frames : np.ndarray
            `[N, C]` or `[N, S, C]`, at least one.
        """
        exact = frames.astype(np.float64)
        mean = exact.mean(axis=0)
        return cls(len(frames), mean, np.square(exact - mean).sum(axis=0))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of every channel, over all frames (divided by their number)."""
        return np.sqrt(self.squares / self.count)


def merge(parts: Iterable[ChannelStatistics]) -> ChannelStatistics | None:
    """Put statistics of parts together, in the order given, which alone the last bits depend on.

    Parameters
    ----------
    parts : iterable of ChannelStatistics
        Of frames of one shape.

    Returns
    -------
    ChannelStatistics or None
        None of no parts.
    """
    whole: ChannelStatistics | None = None
    for part in parts:
        whole = part if whole is None else _merge_two(whole, part)
    return whole


def _merge_two(first: ChannelStatistics, second: ChannelStatistics) -> ChannelStatistics:
    count = first.count + second.count
    step = second.mean - first.mean
    mean = first.mean + step * (second.count / count)
    between = np.square(step) * (first.count * second.count / count)
    return ChannelStatistics(count, mean, first.squares + second.squares + between)
