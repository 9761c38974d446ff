"""Scores that recipes and the command line report, each with its full name, rate and version.

A score that cannot be computed is a failure with a reason, never a zero and never left out. Tools
outside the base installation (``pip install 'wavcube[eval]'``) are imported when they are needed.
"""

from __future__ import annotations

from wavcube.metrics.base import Measurement, Metric, MetricError, MetricInfo, SignalPair
from wavcube.metrics.dnsmos import dnsmos_metrics
from wavcube.metrics.folders import Evaluation, evaluate_folders
from wavcube.metrics.html_report import Players, embed_players, write_html
from wavcube.metrics.report import Summary, aggregate, format_table
from wavcube.metrics.scores import (
    DEFAULT_METRICS,
    METRICS,
    PairScores,
    SourceScores,
    best_permutation,
    score_many,
    score_pair,
    score_sources,
    si_sdr_table,
)
from wavcube.metrics.utmos import utmos_metric

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "Evaluation",
    "Measurement",
    "Metric",
    "MetricError",
    "MetricInfo",
    "PairScores",
    "Players",
    "SignalPair",
    "SourceScores",
    "Summary",
    "aggregate",
    "best_permutation",
    "dnsmos_metrics",
    "embed_players",
    "evaluate_folders",
    "format_table",
    "score_many",
    "score_pair",
    "score_sources",
    "si_sdr_table",
    "utmos_metric",
    "write_html",
]
