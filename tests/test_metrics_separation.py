"""Separation scores: one permutation for all metrics, improvements over the mixture."""

from __future__ import annotations

import numpy as np
import pytest

from wavcube.metrics import best_permutation, score_pair, score_sources, si_sdr_table
from wavcube.metrics.sdr import sdr, si_sdr

RATE = 8000


def signals(count, size=4000, seed=0):
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_known_permutation_is_found_whatever_scale_sign_or_offset(order):
    sources = signals(3)
    estimates = np.empty_like(sources)
    for place, source in zip(order, sources, strict=True):
        estimates[place] = -3 * source + 5 + 0.3 * signals(1, seed=9)[0]
    assert best_permutation(sources, estimates) == order


def test_permutation_has_the_best_mean_not_the_best_single_pair():
    a, b = signals(2)
    # the first estimate is closest to a, but leaving it to b is better for both together
    estimates = np.stack([a + 0.9 * b, a + 2.0 * signals(1, seed=5)[0]])
    order = best_permutation(np.stack([a, b]), estimates)
    means = {
        o: np.mean(
            [
                si_sdr(s.astype(float), estimates[i].astype(float))
                for s, i in zip((a, b), o, strict=True)
            ]
        )
        for o in [(0, 1), (1, 0)]
    }
    assert order == max(means, key=means.get) == (1, 0)


def test_silent_and_perfect_estimates_do_not_stop_the_assignment():
    sources = signals(2)
    assert best_permutation(sources, np.stack([np.zeros(4000), sources[0]])) == (1, 0)
    assert best_permutation(sources, np.zeros((2, 4000))) == (0, 1)


def test_improvement_is_the_difference_to_the_mixture():
    sources = signals(2, size=RATE)
    noise = signals(2, size=RATE, seed=3)
    mixture = sources.sum(axis=0)
    estimates = (sources + 0.1 * noise)[::-1]
    found = score_sources(mixture, sources, estimates, RATE, ["si_sdr", "mel_distance"])
    assert [scores.estimate for scores in found] == [1, 0]
    for scores, source in zip(found, sources, strict=True):
        # 0.1 of equal power is 20 dB below; the other source is at 0 dB
        assert scores.separated["si_sdr"] == pytest.approx(20, abs=0.3)
        assert scores.mixture["si_sdr"] == pytest.approx(0, abs=0.3)
        expected = scores.separated["si_sdr"] - si_sdr(source, mixture)
        assert scores.improvement["si_sdr"] == pytest.approx(expected, abs=1e-4)
        # the other metric uses the same permutation, and is lower the better
        assert scores.improvement["mel_distance"] < 0


def test_failure_keeps_its_reason_and_has_no_improvement():
    sources = signals(2, size=RATE)
    estimates = np.stack([sources[0], np.zeros(RATE)])
    found = score_sources(sources.sum(axis=0), sources, estimates, RATE)
    assert found[0].improvement == {}
    assert "infinite" in found[0].separated.failures["si_sdr"]
    assert found[1].separated.failures
    assert found[1].mixture["si_sdr"] == pytest.approx(0, abs=0.3)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(2, 4000\).*\(3, 4000\)"):
        best_permutation(signals(2), signals(3))
    with pytest.raises(ValueError, match="differ in length"):
        score_sources(signals(1)[0][:-1], signals(2), signals(2), RATE)


def test_table_is_the_metric_and_finite_for_silence():
    sources, estimates = signals(2), np.stack([*signals(1, seed=4), np.zeros(4000)])
    estimates[0] += sources[1]
    table = si_sdr_table(sources, estimates)
    for row, source in enumerate(sources):
        assert table[row, 0] == pytest.approx(si_sdr(source, estimates[0]), abs=1e-3)
    assert table[:, 1] == pytest.approx(-120)


def test_sdr_forgives_a_filter_and_si_sdr_does_not():
    (clean,) = signals(1).astype(float)
    filtered = np.convolve(clean, [0.3, 1.0, 0.5])[:4000]
    assert si_sdr(clean, filtered) < 0
    assert sdr(clean, filtered, RATE) > 20
    noisy = clean + 0.1 * signals(1, seed=2)[0]
    # a filter of 512 taps fits a little of the noise too
    assert si_sdr(clean, noisy) == pytest.approx(20, abs=0.3)
    assert sdr(clean, noisy, RATE) == pytest.approx(20.5, abs=0.5)


@pytest.mark.parametrize(
    ("generated", "reason"), [(np.zeros(4000), "silent"), (signals(1, size=1)[0], "SDR")]
)
def test_sdr_without_a_value_has_a_reason(generated, reason):
    found = score_pair(signals(1, size=len(generated))[0], generated, RATE, ["sdr"])
    assert reason in found.failures["sdr"]
