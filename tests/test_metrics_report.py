"""Means, intervals and tables of scores."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from wavcube.experiment.report import check_best_metric
from wavcube.metrics import (
    Measurement,
    PairScores,
    Summary,
    aggregate,
    format_table,
    score_pair,
)


def scores(values, metric="stoi", weights=None):
    weights = weights or [1.0] * len(values)
    return [
        PairScores(f"{i:03}", 16000, {metric: Measurement(value, weight)})
        for i, (value, weight) in enumerate(zip(values, weights, strict=True))
    ]


def test_mean_count_and_interval_of_known_values():
    summary = aggregate(scores([0.2, 0.4, 0.9]))["stoi"]
    assert summary.mean == pytest.approx(0.5)
    assert summary.count == 3
    assert 0.2 <= summary.low < 0.5 < summary.high <= 0.9
    constant = aggregate(scores([0.7] * 5))["stoi"]
    assert (constant.low, constant.high) == pytest.approx((0.7, 0.7))


def test_interval_is_that_of_the_central_limit_theorem_for_many_files():
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    summary = aggregate(scores(values.tolist()), resamples=4000)["stoi"]
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert summary.low == pytest.approx(values.mean() - half, abs=0.01)
    assert summary.high == pytest.approx(values.mean() + half, abs=0.01)


def test_order_changes_nothing_and_the_seed_decides():
    entries = scores(np.random.default_rng(0).random(20).tolist())
    assert aggregate(entries) == aggregate(entries[::-1])
    assert aggregate(entries, seed=1)["stoi"].low != aggregate(entries, seed=2)["stoi"].low


def test_an_error_rate_is_taken_over_all_words():
    # 1 of 2 words and 0 of 8 words wrong: 10 %, not 25 %
    summary = aggregate(scores([0.5, 0.0], "stoi", [2.0, 8.0]))["stoi"]
    assert summary.mean == pytest.approx(0.1)
    assert summary.high == pytest.approx(0.5)


def test_failures_are_counted_and_listed_and_do_not_pull_the_mean():
    entries = [*scores([0.5, 0.7]), PairScores("bad", 16000, {}, {"stoi": "silent"})]
    summary = aggregate(entries)["stoi"]
    assert summary.mean == pytest.approx(0.6)
    assert summary.count == 2
    assert summary.failed == (("bad", "silent"),)
    assert summary.as_dict()["failed"] == [{"name": "bad", "reason": "silent"}]


def test_nothing_measured_is_none_and_not_zero():
    summary = aggregate([PairScores("bad", None, {}, {"stoi": "silent"})])["stoi"]
    assert (summary.mean, summary.low, summary.high, summary.count) == (None, None, None, 0)
    assert aggregate(scores([0.5]))["stoi"] == Summary(0.5, None, None, 1)


def test_impossible_aggregates_are_refused():
    with pytest.raises(ValueError, match="no scores"):
        aggregate([])
    with pytest.raises(ValueError, match="different metrics"):
        aggregate([*scores([0.5]), *scores([0.5], "estoi")])


def test_table_has_full_names_intervals_and_failures():
    rows = {
        "original": {"pesq_wb": Summary(4.64, 4.6, 4.7, 9), "speaker_similarity": 1.0},
        "stage 1": {"pesq_wb": Summary(1.5, 1.25, 1.75, 8, (("bad", "silent"),)), "bits": 3.0},
        "stage 2": {"pesq_wb": Summary(None, None, None, 0, (("bad", "silent"),))},
    }
    lines = format_table(rows, intervals=True, digits=2).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "",
        "PESQ-WB [MOS] ↑",
        "Speaker similarity (Resemblyzer) [cosine] ↑",
        "bits",
    ]
    assert cells[2] == ["original", "4.64 [4.60, 4.70]", "1.00", "-"]
    assert cells[3] == ["stage 1", "1.50 [1.25, 1.75] (1 failed)", "-", "3.00"]
    assert cells[4] == ["stage 2", "- (1 failed)", "-", "-"]
    assert len({len(line) for line in lines}) == 1  # reads as plain text too
    assert "[4.60" not in format_table(rows)
    with pytest.raises(ValueError, match="at least one row"):
        format_table({})


def test_a_metric_without_its_package_has_no_column(monkeypatch):
    monkeypatch.setitem(sys.modules, "pesq", None)
    tone = np.sin(np.arange(16000) / 10)
    scores = [score_pair(tone, 0.9 * tone + 0.01 * tone**2, 16000, ["stoi", "pesq_wb"])]
    summary = aggregate(scores)
    table = format_table({"a": summary, "b": {"stoi": 0.5}})
    assert "PESQ" not in table.splitlines()[0]
    assert table.splitlines()[-1] == (
        "left out, pip install 'wavcube[eval]' brings them: PESQ-WB [MOS] ↑"
    )
    # a failure of another kind is shown
    other = replace(summary["pesq_wb"], failed=(("a", "silent"),))
    assert "PESQ" in format_table({"a": {"pesq_wb": other}})


def test_the_loss_chooses_where_the_best_metric_has_no_package(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert check_best_metric("pesq_wb", ["pesq_wb"], 16000) == "loss"
    assert "the loss chooses the best checkpoint, not pesq_wb" in caplog.text
    assert check_best_metric("stoi", ["stoi"], 16000) == "stoi"
