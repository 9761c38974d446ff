"""What a run on the latent is evaluated on, and how: chosen and checked before it trains."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from wavcube.data.manifest import Utterance
from wavcube.data.splits import evenly_spaced
from wavcube.experiment.card import describe_run
from wavcube.inference.inspection import require_matplotlib
from wavcube.metrics import METRICS, score_pair
from wavcube.metrics.registry import select_metrics

COUNTS = (
    "valid_utterances", "valid_sentences", "valid_lessons", "test_utterances", "sample_clips",
    "scoring_processes", "batch_size",
)  # fmt: skip


def check_evaluation(hparams: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse what would end the evaluation, hours later, of a run that has been trained.

    Parameters
    ----------
    hparams : Mapping
        Of the recipe.
    model : nn.Module
        The lobe, which the release's card describes.

    Raises
    ------
    ValueError
        If a metric or an entry of the card is unknown, a count is below 1, or matplotlib, which
        draws the samples, is not installed.
    """
    select_metrics(hparams["metrics"])
    check_counts(hparams)
    describe_run(model, hparams, {})
    require_matplotlib()


def check_counts(hparams: Mapping[str, Any]) -> None:
    """Refuse a count, of those that a recipe has, which is below 1; of workers, below 0.

    Parameters
    ----------
    hparams : Mapping
        Of the recipe.

    Raises
    ------
    ValueError
        If there is one; it names the count.

    Examples
    --------
    >>> check_counts({"sample_clips": 0})
    Traceback (most recent call last):
    ...
    ValueError: sample_clips is 0: give 1 or more
    """
    for key in COUNTS:
        if hparams.get(key, 1) < 1:
            raise ValueError(f"{key} is {hparams[key]}: give 1 or more")
    if hparams.get("num_workers", 0) < 0:
        raise ValueError(f"num_workers is {hparams['num_workers']}: give 0 or more")


def check_best_metric(metric: str, measured: Container[str], sample_rate: int) -> None:
    """Refuse to choose the best checkpoint by a metric that cannot be computed.

    It is tried on noise: its package may be missing, or it may need a higher rate.

    Parameters
    ----------
    metric : str
        A key of ``wavcube.metrics.METRICS``; any other name is left to the Brain.
    measured : container of str
        What the Brain's validation measures; it refuses others itself.
    sample_rate : int
        Of the model, in Hz.

    Raises
    ------
    ValueError
        If it fails; the message says why.

    Examples
    --------
    >>> check_best_metric("pesq_wb", ["pesq_wb"], 8000)
    Traceback (most recent call last):
    ...
    ValueError: best_metric 'pesq_wb' cannot be computed: PESQ-WB needs 16000 Hz, the reference ...
    """
    if metric not in METRICS or metric not in measured:
        return
    noise, other = np.random.default_rng(0).normal(0.0, 0.1, (2, 2 * sample_rate))
    failures = score_pair(noise, noise + other, sample_rate, [metric]).failures
    if failures:
        raise ValueError(f"best_metric {metric!r} cannot be computed: {failures[metric]}")


def choose_rows(
    rows: Sequence[Utterance], role: str, count: int, shortest: float, longest: float
) -> list[Utterance]:
    """Choose the utterances of validation or test, at even distances.

    Parameters
    ----------
    rows : sequence of Utterance
        All that there are.
    role : str
        "valid" or "test", for the message.
    count : int
        How many at most.
    shortest, longest : float
        Seconds that one may last: a score may need some speech, and the cost of attention over a
        whole utterance grows with its length squared.

    Raises
    ------
    ValueError
        If none lasts between the two.

    Examples
    --------
    >>> rows = [Utterance(f"{i}", i / 2, "a.wav") for i in range(6)]
    >>> [row.ID for row in choose_rows(rows, "test", 2, 1.0, 2.0)]
    ['2', '3']
    """
    long_enough = [row for row in rows if row.duration >= shortest]
    if not long_enough:
        raise ValueError(f"no {role} utterance lasts {shortest} s: lower shortest_test")
    chosen = [row for row in long_enough if row.duration <= longest]
    if not chosen:
        raise ValueError(
            f"every {role} utterance of {shortest} s or more is longer than {longest} s: raise "
            f"longest_test, or cut the recordings"
        )
    return evenly_spaced(chosen, count)


def count_longer(rows: Sequence[Utterance], longest: float) -> int:
    """Count the utterances that last longer than so many seconds.

    Parameters
    ----------
    rows : sequence of Utterance
        Of validation or test.
    longest : float
        Seconds.

    Examples
    --------
    >>> count_longer([Utterance("a", 31.0, "a.wav"), Utterance("b", 30.0, "b.wav")], 30.0)
    1
    """
    return sum(row.duration > longest for row in rows)
