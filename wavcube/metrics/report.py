"""From scores of files to figures of a system: means, intervals, failures, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wavcube.metrics.base import NOT_COMPUTED
from wavcube.metrics.scores import INFOS, PairScores


@dataclass(frozen=True)
class Summary:
    """One metric over many files.

    Parameters
    ----------
    mean : float, optional
        Weighted mean over the files that have a value; None if none has.
    low, high : float, optional
        Bootstrap 95 % interval of the mean; None with less than two values.
    count : int
        Number of files with a value.
    failed : tuple of (str, str)
        Name and reason of each file without one.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int
    failed: tuple[tuple[str, str], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Give the summary as plain data for JSON.

        Returns
        -------
        dict
            The fields; ``failed`` as a list of ``{"name", "reason"}``.
        """
        failed = [{"name": name, "reason": reason} for name, reason in self.failed]
        return {**asdict(self), "failed": failed}


def aggregate(
    scores: Sequence[PairScores], resamples: int = 1000, seed: int = 0
) -> dict[str, Summary]:
    """Average each metric over files, with a bootstrap interval.

    The percentile bootstrap (Efron 1979) draws whole files with replacement. Files are sorted by
    name first: their order changes nothing. An error rate is weighted by its words.

    Parameters
    ----------
    scores : Sequence of PairScores
        All of the same metrics.
    resamples : int
        Number of bootstrap draws.
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to Summary
        By metric, in the order of the first file's.

    Raises
    ------
    ValueError
        If there are no scores, or they are of different metrics.
    """
    if not scores:
        raise ValueError("there are no scores to aggregate")
    known = {frozenset(entry.measurements) | frozenset(entry.failures) for entry in scores}
    if len(known) > 1:
        raise ValueError(
            f"the files were scored with different metrics: {sorted(map(sorted, known))}"
        )
    ordered = sorted(scores, key=lambda entry: entry.name)
    keys = sorted(known.pop(), key=list(INFOS).index)
    return {key: _summary(key, ordered, resamples, seed) for key in keys}


def bootstrap(
    items: Sequence[Mapping[str, float | str]],
    summarize: Callable[[Mapping[str, np.ndarray]], Mapping[str, float]],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Summary]:
    """Make figures out of the measurements of many items, each with a bootstrap interval.

    Parameters
    ----------
    items : sequence of mapping
        Of each what was measured, by name; a text is the reason why there is no value.
    summarize : Callable
        From the values of items by name to figures by name; of a name without values it gets none.
    resamples : int
        Number of draws of all items with replacement (Efron 1979).
    seed : int
        Of the draws.

    Returns
    -------
    dict of str to Summary
        By figure.

    Examples
    --------
    >>> items = [{"errors": 1.0, "words": 2.0}, {"errors": 0.0, "words": 2.0}]
    >>> rate = lambda found: {"rate": found["errors"].sum() / found["words"].sum()}
    >>> bootstrap(items, rate)["rate"].mean
    0.25
    """
    names = list(dict.fromkeys(name for item in items for name in item))
    found = [[item.get(name) for item in items] for name in names]
    table = np.array([[v if isinstance(v, int | float) else np.nan for v in row] for row in found])
    reasons = {
        name: tuple((str(at), v) for at, v in enumerate(row) if isinstance(v, str))
        for name, row in zip(names, found, strict=True)
    }

    def figures(values: np.ndarray) -> Mapping[str, float]:
        known = {n: row[~np.isnan(row)] for n, row in zip(names, values, strict=True)}
        return summarize({name: row for name, row in known.items() if len(row)})

    whole = figures(table)
    drawn: dict[str, list[float]] = {}
    draws = np.random.default_rng(seed).integers(len(items), size=(resamples, len(items)))
    for draw in draws if len(items) > 1 else ():
        for name, value in figures(table[:, draw]).items():
            drawn.setdefault(name, []).append(value)
    result = {}
    for name, value in whole.items():
        ends = np.percentile(drawn[name], [2.5, 97.5]) if name in drawn else (None, None)
        low, high = (None if end is None else float(end) for end in ends)
        failed = reasons.get(name, ())
        result[name] = Summary(float(value), low, high, len(items) - len(failed), failed)
    return result


def format_table(
    rows: Mapping[str, Mapping[str, Summary | float | str]],
    intervals: bool = False,
    digits: int = 3,
) -> str:
    """Lay figures out as a Markdown table that also reads well as plain text.

    Parameters
    ----------
    rows : Mapping
        From the row's label to its values by column. A column that is a metric's key is headed by
        the metric's full name, unit and better direction; any other name stands as it is. Values
        that are text are printed as they are.
    intervals : bool
        Print the bootstrap interval behind each mean.
    digits : int
        Decimals.

    Returns
    -------
    str
        The table; missing values are "-", files without a value are counted in the cell. Metrics
        whose package is missing have no column; a line below says how to get them.

    Raises
    ------
    ValueError
        If there is no row.

    Examples
    --------
    >>> print(format_table({"stage 1": {"stoi": 0.5, "cosine to teacher": 1.0}}))
    |         | STOI ↑ | cosine to teacher |
    | :------ | -----: | ----------------: |
    | stage 1 |  0.500 |             1.000 |
    """
    if not rows:
        raise ValueError("a table needs at least one row")
    every = list(dict.fromkeys(column for values in rows.values() for column in values))
    advice = {column: _missing_package(column, rows) for column in every}
    columns = [column for column in every if not advice[column]]
    lines = [["", *(heading(column) for column in columns)]]
    for label, values in rows.items():
        lines.append([label, *(_cell(values.get(c), intervals, digits) for c in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) + 1)]
    rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    lines.insert(1, rule)
    aligned = (
        [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        for line in lines
    )
    laid_out = [f"| {' | '.join(line)} |" for line in aligned]
    for remedy in filter(None, dict.fromkeys(advice.values())):
        left_out = ", ".join(heading(column) for column in every if advice[column] == remedy)
        laid_out.append(f"left out, {remedy} brings them: {left_out}")
    return "\n".join(laid_out)


def _missing_package(
    column: str, rows: Mapping[str, Mapping[str, Summary | float | str]]
) -> str | None:
    """Say what to install where a column has no value for want of a package; otherwise None."""
    reasons: list[str] = []
    for values in rows.values():
        value = values.get(column)
        if value is None:
            continue
        if not isinstance(value, Summary) or value.count or not value.failed:
            return None
        reasons += [reason for _, reason in value.failed]
    if not all(reason.startswith(NOT_COMPUTED) for reason in reasons):
        return None
    return reasons[0].rpartition("; ")[2]


def heading(column: str) -> str:
    """Name a column as tables print it.

    Parameters
    ----------
    column : str
        A metric's key, or any other name.

    Returns
    -------
    str
        Full name, unit and better direction of a metric; any other name as it is.

    Examples
    --------
    >>> heading("pesq_wb"), heading("cosine to teacher")
    ('PESQ-WB [MOS] ↑', 'cosine to teacher')
    """
    if column not in INFOS:
        return column
    info = INFOS[column]
    arrow = "↑" if info.better == "higher" else "↓"
    return f"{info.name} [{info.unit}] {arrow}" if info.unit else f"{info.name} {arrow}"


def group_failures(
    failures: Mapping[str, Mapping[str, str]],
) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    """Bring together the clips that failed in the same metrics for the same reason.

    Parameters
    ----------
    failures : Mapping
        From a clip's name to its reasons by metric.

    Returns
    -------
    dict
        From a reason and the metrics concerned to the names of the clips.

    Examples
    --------
    >>> group_failures({"a": {"stoi": "silent", "si_sdr": "silent"}, "b": {"stoi": "silent"}})
    {('silent', ('stoi', 'si_sdr')): ['a'], ('silent', ('stoi',)): ['b']}
    """
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, reasons in failures.items():
        for reason in dict.fromkeys(reasons.values()):
            keys = tuple(key for key in reasons if reasons[key] == reason)
            groups.setdefault((reason, keys), []).append(name)
    return groups


def _summary(key: str, ordered: list[PairScores], resamples: int, seed: int) -> Summary:
    failed = tuple((s.name, s.failures[key]) for s in ordered if key in s.failures)
    measured = [s.measurements[key] for s in ordered if key in s.measurements]
    if not measured:
        return Summary(None, None, None, 0, failed)
    values = np.array([m.value for m in measured])
    weights = np.array([m.weight for m in measured])
    mean = float(np.average(values, weights=weights))
    if len(measured) < 2:
        return Summary(mean, None, None, len(measured), failed)
    draws = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    means = (values * weights)[draws].sum(axis=1) / weights[draws].sum(axis=1)
    low, high = (float(x) for x in np.percentile(means, [2.5, 97.5]))
    return Summary(mean, low, high, len(measured), failed)


def _cell(value: Summary | float | str | None, intervals: bool, digits: int) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if not isinstance(value, Summary):
        return f"{value:.{digits}f}"
    text = "-" if value.mean is None else f"{value.mean:.{digits}f}"
    if intervals and value.low is not None:
        text += f" [{value.low:.{digits}f}, {value.high:.{digits}f}]"
    if value.failed:
        text += f" ({len(value.failed)} failed)"
    return text
