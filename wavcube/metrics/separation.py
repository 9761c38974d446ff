"""Scores of separated sources: one permutation, by SI-SDR, for every metric.

A metric that chose its own permutation would flatter a system that mixes up the sources; see also
asteroid issue 509.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from wavcube.metrics.base import Metric
from wavcube.metrics.scores import PairScores, score_pair

# of the squared cosine between two signals: +-120 dB, for signals without a finite SI-SDR
_FLOOR = 1e-12


@dataclass(frozen=True)
class SourceScores:
    """Scores of one source of a mixture.

    Parameters
    ----------
    estimate : int
        Which of the estimates belongs to it.
    separated : PairScores
        Of that estimate.
    mixture : PairScores
        Of the mixture, as if nothing had been separated.
    improvement : dict
        Separated less mixture, for the metrics that both have.
    """

    estimate: int
    separated: PairScores
    mixture: PairScores
    improvement: dict[str, float]


def best_permutation(references: np.ndarray, estimates: np.ndarray) -> tuple[int, ...]:
    """Assign estimates to references by the highest mean SI-SDR.

    Parameters
    ----------
    references, estimates : ndarray
        `[S, T]`, without padding.

    Returns
    -------
    tuple of int
        For each reference the place of its estimate. A pair without a finite SI-SDR (a silent
        estimate, a perfect one) counts as -120 or 120 dB; of equal permutations the first is taken.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> sources = np.random.default_rng(0).standard_normal((2, 100))
    >>> best_permutation(sources, sources[::-1] + 0.1)
    (1, 0)
    """
    references, estimates = np.asarray(references), np.asarray(estimates)
    if references.ndim != 2 or references.shape != estimates.shape:
        raise ValueError(
            f"references {references.shape} and estimates {estimates.shape} must be [sources, time]"
        )
    table = si_sdr_table(references, estimates)
    rows = np.arange(len(references))
    choices = list(permutations(range(len(references))))
    return max(choices, key=lambda order: float(table[rows, list(order)].mean()))


def score_sources(
    mixture: np.ndarray,
    references: np.ndarray,
    estimates: np.ndarray,
    sample_rate: int,
    metrics: Sequence[str | Metric] = ("si_sdr",),
) -> list[SourceScores]:
    """Score every source of a separated mixture, and the mixture itself.

    Parameters
    ----------
    mixture : ndarray
        `[T]`, without padding.
    references, estimates : ndarray
        `[S, T]`.
    sample_rate : int
        In Hz.
    metrics : Sequence of str or Metric
        As in :func:`wavcube.metrics.score_pair`. Improvements are differences, whichever direction
        is the better one.

    Returns
    -------
    list of SourceScores
        In the order of the references. What cannot be computed is in `failures`, with its reason.

    Raises
    ------
    ValueError
        If shapes differ or a metric is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> sources = np.random.default_rng(0).standard_normal((2, 8000))
    >>> found = score_sources(sources.sum(0), sources, sources[::-1] + 0.1 * sources, 8000)
    >>> [scores.estimate for scores in found], round(found[0].separated["si_sdr"])
    ([1, 0], 20)
    >>> round(found[0].improvement["si_sdr"])
    20
    """
    order = best_permutation(references, estimates)
    if np.shape(mixture) != np.shape(references)[1:]:
        raise ValueError(
            f"mixture {np.shape(mixture)} and references {np.shape(references)} differ in length"
        )
    found: list[SourceScores] = []
    for reference, place in zip(references, order, strict=True):
        separated = score_pair(reference, estimates[place], sample_rate, metrics)
        before = score_pair(reference, mixture, sample_rate, metrics)
        gained = {key: separated[key] - before[key] for key in separated if key in before}
        found.append(SourceScores(place, separated, before, gained))
    return found


def si_sdr_table(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """SI-SDR of every reference with every estimate, always finite.

    Parameters
    ----------
    references, estimates : ndarray
        `[R, T]` and `[S, T]`, without padding.

    Returns
    -------
    ndarray
        `[R, S]` in dB, from -120 to 120; -120 for a silent signal.

    Examples
    --------
    >>> import numpy as np
    >>> signal, noise = np.array([1.0, -1.0, 1.0, -1.0]), np.array([0.1, 0.1, -0.1, -0.1])
    >>> si_sdr_table(signal[None], np.stack([signal + noise, noise])).round().tolist()
    [[20.0, -120.0]]
    """
    rows = [
        signals.astype(np.float64) - signals.mean(axis=1, keepdims=True, dtype=np.float64)
        for signals in (references, estimates)
    ]
    energies = [np.square(signals).sum(axis=1) for signals in rows]
    scale = np.outer(*energies)
    squared = np.divide(
        np.square(rows[0] @ rows[1].T), scale, np.zeros_like(scale), where=scale > 0
    )
    # SI-SDR depends on the angle alone: cos^2 / (1 - cos^2)
    squared = squared.clip(_FLOOR, 1 - _FLOOR)
    return 10 * np.log10(squared / (1 - squared))
