"""Timing one thing beside another: in turns, so that a busy machine is busy for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from torch import nn


def in_turns(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time calls one after the other, over and over, after a round that does not count.

    Returns
    -------
    dict of str to list of float
        Seconds of wall clock of each call.

    Examples
    --------
    >>> sorted(in_turns({"a": list, "b": dict}, repeats=2))
    ['a', 'b']
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Give the median of each call."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def median_ratio(seconds: Mapping[str, list[float]], name: str, other: str) -> float:
    """Give the median of the ratios within each round.

    Examples
    --------
    >>> median_ratio({"a": [1.0, 2.0, 9.0], "b": [2.0, 4.0, 3.0]}, "a", "b")
    0.5
    """
    return statistics.median(
        one / two for one, two in zip(seconds[name], seconds[other], strict=True)
    )


def linear_operations(module: nn.Module, call: Callable[[], object]) -> int:
    """Count the multiplications and additions of a module's Linears in a call."""
    total = 0

    def count(layer: nn.Linear, given: tuple, made: object) -> None:
        nonlocal total
        del made
        total += 2 * given[0].numel() * layer.out_features

    linears = [part for part in module.modules() if isinstance(part, nn.Linear)]
    handles = [linear.register_forward_hook(count) for linear in linears]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()
    return total
