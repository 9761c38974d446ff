"""Timing one thing beside another: in turns, so that a busy machine is busy for both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import binom
from torch import Tensor, nn

# an interval's width, relative to its median, that decides
NARROW = 0.1


@dataclass(frozen=True)
class Interval:
    """A median and its interval.

    Attributes
    ----------
    middle : float
        The median.
    low, high : float
        Between them lies the true median with 95 %, whatever the distribution; with less than 6
        values the smallest and the largest.
    """

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        """Take the median of values, and the order statistics around it.

        Examples
        --------
        >>> Interval.of([3.0, 1.0, 2.0])
        Interval(middle=2.0, low=1.0, high=3.0)
        """
        ordered = sorted(values)
        # so many values at each end may be beyond the median with 2.5 %
        beyond = max(0, int(binom.ppf(0.025, len(ordered), 0.5)) - 1)
        middle = statistics.median(ordered)
        return cls(middle, ordered[beyond], ordered[len(ordered) - 1 - beyond])

    @property
    def width(self) -> float:
        """Of the interval, relative to the median."""
        return (self.high - self.low) / self.middle


def in_turns(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    compared: Sequence[tuple[str, str]] = (),
    longest: float = 120.0,
) -> dict[str, list[float]]:
    """Time calls one after the other, over and over, after a round that does not count.

    Parameters
    ----------
    calls : mapping of str to Callable
        By name.
    repeats : int
        Fewest rounds.
    compared : sequence of pairs of names
        Rounds go on until the interval of each of their ratios is narrower than a tenth.
    longest : float
        Seconds after which no further round begins.

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
    begun = time.perf_counter()
    rounds = 0
    while True:
        rounds += 1
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
        wide = any(median_ratio(seconds, *pair).width > NARROW for pair in compared)
        if rounds >= repeats and (not wide or time.perf_counter() - begun > longest):
            return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Give the median of each call."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def median_ratio(seconds: Mapping[str, list[float]], name: str, other: str) -> Interval:
    """Give the median of the ratios within each round, and its interval.

    Examples
    --------
    >>> median_ratio({"a": [1.0, 2.0, 9.0], "b": [2.0, 4.0, 3.0]}, "a", "b").middle
    0.5
    """
    return Interval.of([one / two for one, two in zip(seconds[name], seconds[other], strict=True)])


def linear_products(module: nn.Module, call: Callable[[], object]) -> Callable[[], None]:
    """Make the products of matrices alone that a module's Linears make in a call.

    Parameters
    ----------
    module : nn.Module
        Of Linears and others.
    call : Callable
        That runs it.

    Returns
    -------
    Callable
        Multiplies matrices of the same shapes, as many times.
    """
    pairs: list[tuple[Tensor, Tensor]] = []

    def note(layer: nn.Linear, given: tuple[Tensor], made: object) -> None:
        del made
        x = given[0].detach().flatten(0, -2)
        pairs.append((torch.randn_like(x), layer.weight.detach().t()))

    linears = [part for part in module.modules() if isinstance(part, nn.Linear)]
    handles = [linear.register_forward_hook(note) for linear in linears]
    try:
        call()
    finally:
        for handle in handles:
            handle.remove()

    def products() -> None:
        for x, weight in pairs:
            torch.mm(x, weight)

    return products
