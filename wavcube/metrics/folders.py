"""Evaluating a folder of generated files against a folder of references."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavcube.metrics.registry import METRICS, select_metrics
from wavcube.metrics.report import Summary, aggregate, format_table, heading
from wavcube.metrics.scores import PairScores, score_many
from wavcube.metrics.signals import SignalPair

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif")


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
    """

    scores: list[PairScores]
    summary: dict[str, Summary]
    without_reference: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain data.

        Returns
        -------
        dict
            ``metrics``: by key, identity (name, definition, rate, package, version) and summary;
            ``files``: name, sample rate, scores and failures of each; ``without_reference``.
        """
        return {
            "metrics": {
                key: {**METRICS[key].info.as_dict(), **summary.as_dict()}
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
        }

    def write_json(self, path: str | Path) -> None:
        """Write :meth:`as_dict` as strict JSON (no NaN, no infinity).

        Parameters
        ----------
        path : str or Path
            File to write.
        """
        text = json.dumps(self.as_dict(), indent=2, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def format(self) -> str:
        """Lay the summary out, one metric a line.

        Returns
        -------
        str
            Markdown table of full name, mean, interval and counts.
        """
        rows = {
            heading(key): {"mean [95 % interval]": summary, "files": str(summary.count)}
            for key, summary in self.summary.items()
        }
        return format_table(rows, intervals=True)


def evaluate_folders(
    reference_dir: str | Path,
    generated_dir: str | Path,
    metrics: Sequence[str] | None = None,
    transcripts: Mapping[str, str] | None = None,
    num_processes: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> Evaluation:
    """Score every reference file against the generated file of the same relative name.

    Suffixes may differ (``a/b.flac`` belongs to ``a/b.wav``). A reference whose generated file is
    missing, unreadable, silent or of another length counts as failed in every metric that this
    concerns; it is listed with the reason.

    Parameters
    ----------
    reference_dir, generated_dir : str or Path
        Folders of audio files, searched with their subfolders.
    metrics : Sequence of str, optional
        Keys of ``wavcube.metrics.METRICS``; all that apply when left out.
    transcripts : Mapping of str to str, optional
        What is said, by relative name without suffix (``"a/b"``). When left out,
        :func:`find_transcripts` looks beside the references.
    num_processes : int
        Processes to score with; the result does not depend on it.
    seed : int
        Of the bootstrap.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Evaluation
        Scores per file and their summary.

    Raises
    ------
    FileNotFoundError
        If a folder is missing.
    ValueError
        If the references hold no audio file or two of one name, no generated file has a
        reference's name, or a metric is unknown.
    """
    references = _audio_files(Path(reference_dir))
    generated = _audio_files(Path(generated_dir))
    if not references.keys() & generated.keys():
        raise ValueError(
            f"no file of {generated_dir} has the name of one in {reference_dir} (first reference: "
            f"{next(iter(references), 'none at all')}): names must agree up to the suffix"
        )
    if transcripts is None:
        transcripts = find_transcripts(reference_dir)
    if metrics is None:
        # without any transcript the original's error rate is not a failure, it does not apply
        skipped = () if references.keys() & transcripts.keys() else ("wer_original",)
        metrics = [key for key in METRICS if key not in skipped]
    select_metrics(metrics)
    pairs = [
        # a missing file is named and becomes the reason when the pair is read
        SignalPair(
            name,
            path,
            generated.get(name, Path(generated_dir, name).with_suffix(path.suffix)),
            transcript=transcripts.get(name),
        )
        for name, path in references.items()
    ]
    scores = score_many(pairs, metrics, num_processes, progress)
    without_reference = sorted(generated.keys() - references.keys())
    return Evaluation(scores, aggregate(scores, seed=seed), without_reference)


def find_transcripts(folder: str | Path) -> dict[str, str]:
    """Collect transcripts that lie beside audio files.

    Parameters
    ----------
    folder : str or Path
        Searched with its subfolders for ``*.trans.txt`` (LibriSpeech: a name and its text on each
        line) and for ``<name>.txt`` beside an audio file (VCTK, LibriTTS).

    Returns
    -------
    dict of str to str
        Text by relative name without suffix.
    """
    folder = Path(folder)
    texts = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            texts[(path.parent.relative_to(folder) / name).as_posix()] = text
    for name, path in _audio_files(folder).items():
        beside = path.with_suffix(".txt")
        if name not in texts and beside.is_file():
            texts[name] = beside.read_text(encoding="utf-8").strip()
    return texts


def _audio_files(folder: Path) -> dict[str, Path]:
    """Files by relative name without suffix, sorted."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in files:
                raise ValueError(f"two audio files of one name: {files[name]} and {path}")
            files[name] = path
    return files
