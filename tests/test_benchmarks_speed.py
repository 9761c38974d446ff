"""The table of speed: what it counts and how it judges."""

import torch

from benchmarks.speed import table_of
from benchmarks.speed_rows import Row
from benchmarks.timing import in_turns, linear_operations, median_ratio, medians
from wavcube.lobes.ssl.transformer import FeedForward


def test_calls_take_turns_after_a_round_that_does_not_count():
    made = []
    calls = {"a": lambda: made.append("a"), "b": lambda: made.append("b")}
    seconds = in_turns(calls, repeats=3)
    assert "".join(made) == "ab" * 4
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_medians_and_ratios_are_those_of_the_rounds():
    seconds = {"a": [1.0, 2.0, 30.0], "b": [2.0, 2.0, 10.0]}
    assert medians(seconds) == {"a": 2.0, "b": 2.0}
    assert median_ratio(seconds, "a", "b") == 1.0


def test_operations_of_linears_are_counted():
    module, x = FeedForward(8, 32), torch.randn(2, 5, 8)
    assert linear_operations(module, lambda: module(x)) == 2 * 2 * 5 * 8 * 32 * 2
    module(x)
    assert not any(part._forward_hooks for part in module.modules())


def test_limits_hold_from_above_and_from_below():
    assert Row("a", {}, 0.5, 0.6).holds
    assert not Row("a", {}, 0.7, 0.6).holds
    assert Row("a", {}, 0.7, 0.6, at_least=True).holds
    assert not Row("a").holds
    line = table_of([Row("a", {"ours": 0.5}, 0.7, 0.6)]).splitlines()[-1]
    assert line == "| a | ours 0.500 | 0.700 | at most 0.6 | no |"
