"""The table of speed: what it counts and how it judges."""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import timing
from benchmarks.speed import table_of
from benchmarks.speed_rows import Row
from benchmarks.timing import Interval, in_turns, linear_products, median_ratio, medians
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
    assert median_ratio(seconds, "a", "b") == Interval(1.0, 0.5, 3.0)


def test_an_interval_covers_the_median_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [
        found.low <= 0.0 <= found.high
        for found in (Interval.of(rng.standard_normal(15).tolist()) for _ in range(1000))
    ]
    assert 0.95 <= np.mean(covered) < 0.99
    assert Interval.of(list(range(100))).width < 0.5


def test_rounds_go_on_until_the_ratio_is_known(monkeypatch):
    clock, rng = [0.0], np.random.default_rng(0)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def call(seconds, spread):
        def run():
            clock[0] += seconds * (1 + spread * rng.random())

        return run

    steady = in_turns({"a": call(1, 0.01), "b": call(2, 0.01)}, 5, [("a", "b")])
    assert len(steady["a"]) == 5
    noisy = in_turns({"a": call(1, 1.0), "b": call(2, 1.0)}, 5, [("a", "b")], longest=1e9)
    assert len(noisy["a"]) > 20
    assert median_ratio(noisy, "a", "b").width <= timing.NARROW
    ended = in_turns({"a": call(1, 1.0), "b": call(2, 1.0)}, 5, [("a", "b")], longest=30.0)
    assert 5 <= len(ended["a"]) < 12


def test_products_are_those_of_the_linears():
    module, x = FeedForward(8, 32), torch.randn(2, 5, 8)
    products = linear_products(module, lambda: module(x))
    assert not any(part._forward_hooks for part in module.modules())
    with FlopCounterMode(display=False) as counted:
        products()
    assert counted.get_total_flops() == 2 * 2 * 5 * 8 * 32 * 2


def test_limits_hold_from_above_and_from_below():
    assert Row("a", {}, 0.5, 0.6).verdict == "holds"
    assert Row("a", {}, 0.7, 0.6).verdict == "falls short"
    assert Row("a", {}, 0.7, 0.6, at_least=True).verdict == "holds"
    for at_least in (True, False):
        assert Row("a", {}, Interval(0.5, 0.4, 0.7), 0.6, at_least).verdict == "not decided"
        assert Row("a", {}, Interval(0.9, 0.8, 1.0), 0.6, at_least).verdict != "not decided"
    line = table_of([Row("a", {"ours": 0.5}, Interval(0.7, 0.65, 0.8), 0.6)]).splitlines()[-1]
    assert line == "| a | ours 0.500 | 0.700 [0.650, 0.800] | at most 0.6 | falls short |"
