"""What an evaluation of two folders gives: scores per file and together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wavcube.metrics.base import MetricInfo
from wavcube.metrics.report import Summary, format_table, heading
from wavcube.metrics.scores import PairScores
from wavcube.utils.atomic import write_atomically


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder: per file and together.

    Parameters
    ----------
    scores : list of PairScores
        One for each reference file, sorted by name.
    summary : dict of str to Summary
        By metric.
    without_reference : list of str
        Generated files that no reference belongs to; they are not scored.
    infos : dict of str to MetricInfo
        The metrics' identities.
    word_references : dict of str to int
        How many clips' word error rate is against their "transcript", and how many against the
        "recogniser"'s own reading of the original; empty where it was not asked for.
    """

    scores: list[PairScores]
    summary: dict[str, Summary]
    without_reference: list[str]
    infos: dict[str, MetricInfo]
    word_references: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain data.

        Returns
        -------
        dict
            ``metrics``: by key, identity (name, definition, rate, package, version, name and
            SHA-256 of a model file) and summary;
            ``files``: name, sample rate, scores and failures of each; ``without_reference``;
            ``word_references``.
        """
        return {
            "metrics": {
                key: {**self.infos[key].as_dict(), **summary.as_dict()}
                for key, summary in self.summary.items()
            },
            "files": [
                {
                    "name": entry.name,
                    "sample_rate": entry.sample_rate,
                    "scores": dict(entry),
                    "failed": entry.failures,
                }
                for entry in self.scores
            ],
            "without_reference": self.without_reference,
            "word_references": self.word_references,
        }

    def write_json(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write :meth:`as_dict` as strict JSON (no NaN, no infinity), whole or not at all.

        Parameters
        ----------
        path : str or Path
            File to write.
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        FileExistsError
            If the file exists and may not be replaced.
        """
        text = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        write_atomically(path, f"{text}\n".encode(), overwrite=overwrite)

    def format(self) -> str:
        """Lay the summary out, one metric a line.

        Returns
        -------
        str
            Markdown table of full name, mean, interval and counts, and below it a note on what
            word error rates were measured against.
        """
        rows: dict[str, dict[str, Summary | float | str]] = {
            heading(key): {"mean [95 % interval]": summary, "files": str(summary.count)}
            for key, summary in self.summary.items()
        }
        table = format_table(rows, intervals=True)
        if not self.word_references:
            return table
        return f"{table}\n{note_on_words(self.word_references)}"


def note_on_words(word_references: Mapping[str, int]) -> str:
    """Say what word error rates were measured against, which changes what they mean.

    Parameters
    ----------
    word_references : mapping of str to int
        See :class:`Evaluation`.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> note_on_words({"transcript": 2, "recogniser": 0})
    "Clips with a word error rate against their transcript: 2, against the recogniser's reading: 0"
    """
    return (
        f"Clips with a word error rate against their transcript: {word_references['transcript']}, "
        f"against the recogniser's reading: {word_references['recogniser']}"
    )
