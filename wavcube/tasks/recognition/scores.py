"""Error rates of a recogniser over a test set, with intervals."""

from __future__ import annotations

import numpy as np
from speechbrain.utils.metric_stats import ErrorRateStats

from wavcube.metrics import Summary

RESAMPLES = 1000


def error_rate(stats: ErrorRateStats, seed: int = 0) -> Summary:
    """Sum an error rate up: all errors by all words (or characters) of the transcripts.

    The interval is the percentile bootstrap over utterances (Efron 1979).

    Parameters
    ----------
    stats : ErrorRateStats
        With counted utterances.
    seed : int
        Of the draws.

    Returns
    -------
    Summary
        In percent.

    Raises
    ------
    ValueError
        If nothing was counted.

    Examples
    --------
    >>> stats = ErrorRateStats()
    >>> stats.append(["a", "b"], [["x"], ["y", "z"]], [["x"], ["y", "w"]])
    >>> round(error_rate(stats).mean, 2), error_rate(stats).count
    (33.33, 2)
    """
    if not stats.scores:
        raise ValueError("no utterance was recognised")
    counted = sorted(stats.scores, key=lambda score: score["key"])
    edits = np.array([score["num_edits"] for score in counted], dtype=float)
    words = np.array([score["num_ref_tokens"] for score in counted], dtype=float)
    rate = 100 * edits.sum() / words.sum()
    if len(counted) < 2:
        return Summary(float(rate), None, None, 1)
    draws = np.random.default_rng(seed).integers(len(edits), size=(RESAMPLES, len(edits)))
    rates = 100 * edits[draws].sum(1) / words[draws].sum(1)
    low, high = (float(value) for value in np.percentile(rates, [2.5, 97.5]))
    return Summary(float(rate), low, high, len(counted))
