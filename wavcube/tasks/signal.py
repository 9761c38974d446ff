"""What the recipes share that make waveforms and know how these should sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wavcube.experiment.evaluation import check_best_metric
from wavcube.experiment.report import Resynthesis, write_samples
from wavcube.inference.inspection import require_matplotlib
from wavcube.metrics import Metric, PairScores, SignalPair, Summary, aggregate, score_many
from wavcube.metrics.base import Measurement
from wavcube.metrics.registry import INFOS
from wavcube.tasks.run import TaskRecipe


class SignalRecipe(TaskRecipe):
    """A task whose results are scored beside their originals, and beside what came in.

    Attributes
    ----------
    results : dict of str to Resynthesis
        By the table's row; the first is of what came in.
    """

    results: dict[str, Resynthesis]

    def check(self) -> None:
        """Refuse a best_metric that fails, and to draw without matplotlib."""
        measured = self.brain_class.SCORES
        check_best_metric(self.hparams["best_metric"], measured, self.model.sample_rate)
        require_matplotlib()

    def metrics(self) -> Sequence[str | Metric]:
        """Give what the table has; by default the metrics that the YAML names."""
        return self.hparams["metrics"]

    def score_input(self, label: str, result: Resynthesis) -> dict[str, dict[str, Summary]]:
        """Score what comes in as if it were the result.

        Parameters
        ----------
        label : str
            Of the row.
        result : Resynthesis
            With the originals.
        """
        self.results = {label: result}
        self._before = self._score(result)
        return {label: aggregate(self._before)}

    def score_result(self, label: str, result: Resynthesis) -> dict[str, Summary]:
        """Score what a model gives, and by how much that is better than what came in.

        Parameters
        ----------
        label : str
            Of the row.
        result : Resynthesis
            Of the same items in the same order.
        """
        self.results[label] = result
        scores = self._score(result)
        return {**aggregate(scores), **gains(self._before, scores)}

    def write_samples(self, folder: Path) -> None:
        """Write some items: as they should be ("original"), came in and came out; and a picture.

        Parameters
        ----------
        folder : Path
            Of the samples.
        """
        write_samples(folder, self.results, self.hparams["sample_clips"])

    def _score(self, result: Resynthesis) -> list[PairScores]:
        pairs = [
            SignalPair(name, result.originals[name], copy, result.sample_rate)
            for name, copy in result.copies.items()
        ]
        bars = not self.run_opts["noprogressbar"]
        return score_many(pairs, self.metrics(), self.hparams["scoring_processes"], bars)


def gains(before: Sequence[PairScores], after: Sequence[PairScores]) -> dict[str, Summary]:
    """Summarise by how much each utterance has become better.

    Parameters
    ----------
    before, after : Sequence of PairScores
        Of the same utterances in the same order.

    Returns
    -------
    dict of str to Summary
        By the column's title. More is better, whichever direction the metric has.

    Examples
    --------
    >>> scores = [PairScores("a", 8000, {"mel_distance": Measurement(value)}) for value in (1, 0.4)]
    >>> gain = gains(scores[:1], scores[1:])
    >>> {title: summary.mean for title, summary in gain.items()}
    {'Log-mel distance gain [neper]': 0.6}
    """
    differences = []
    for first, second in zip(before, after, strict=True):
        changed = {}
        for key in second:
            if key in first:
                change = second[key] - first[key]
                sign = 1 if INFOS[key].better == "higher" else -1
                changed[key] = Measurement(sign * change)
        failures = {**first.failures, **second.failures}
        differences.append(PairScores(second.name, second.sample_rate, changed, failures))
    return {_title(key): summary for key, summary in aggregate(differences).items()}


def _title(key: str) -> str:
    info = INFOS[key]
    return f"{info.name} gain [{info.unit}]" if info.unit else f"{info.name} gain"
