"""Evaluating a folder of generated files against a folder of references."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

from wavcube.data.manifest import Utterance
from wavcube.data.transcripts import read_transcripts_beside
from wavcube.metrics.base import Metric, MetricInfo, SignalPair
from wavcube.metrics.report import Summary, aggregate, format_table, heading
from wavcube.metrics.scores import (
    METRICS,
    PairScores,
    add_model_metrics,
    score_many,
    select_metrics,
)
from wavcube.utils.files import AUDIO_SUFFIXES, walk_files, write_atomically


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


_LISTED = ", ".join(AUDIO_SUFFIXES)


def evaluate_folders(
    reference_dir: str | Path,
    generated_dir: str | Path,
    metrics: Sequence[str] | None = None,
    transcripts: Mapping[str, str] | None = None,
    num_processes: int = 1,
    seed: int = 0,
    progress: bool = True,
    models: Sequence[Metric] = (),
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
        Keys of ``wavcube.metrics.METRICS``; all that apply when left out. May name metrics of
        ``models`` too, and then has only these of that model.
    transcripts : Mapping of str to str, optional
        What is said, by relative name without suffix (``"a/b"``). When left out,
        :func:`find_transcripts` looks beside the references.
    num_processes : int
        Processes to score with; the result does not depend on it.
    seed : int
        Of the bootstrap.
    progress : bool
        Show a progress bar.
    models : Sequence of Metric
        Metrics of model files, which are taken too: ``dnsmos_metrics``, ``utmos_metric``.

    Returns
    -------
    Evaluation
        Scores per file and their summary.

    Raises
    ------
    FileNotFoundError
        If a folder is missing.
    ValueError
        If a folder holds no audio file or two of one name, no generated file has a reference's
        name, no transcript's name is a reference's, or a metric is unknown.
    """
    references, generated = audio_files(reference_dir), audio_files(generated_dir)
    _check_names(reference_dir, references, generated_dir, generated)
    if transcripts is None:
        transcripts = find_transcripts(reference_dir)
    else:
        _check_transcripts(transcripts, references)
    if metrics is None:
        # without any transcript the original's error rate is not a failure, it does not apply
        skipped = () if references.keys() & transcripts.keys() else ("wer_original",)
        metrics = [key for key in METRICS if key not in skipped]
    chosen = add_model_metrics(metrics, models)
    infos = {metric.info.key: metric.info for metric in select_metrics(chosen)}
    pairs = []
    for name, path in references.items():
        # a missing file is named and becomes the reason when the pair is read
        copy = generated.get(name, Path(generated_dir, name + path.suffix))
        pairs.append(SignalPair(name, path, copy, transcript=transcripts.get(name)))
    scores = score_many(pairs, chosen, num_processes, progress)
    without_reference = sorted(generated.keys() - references.keys())
    words = _sources_of_words(scores, transcripts) if "wer" in infos else {}
    return Evaluation(scores, aggregate(scores, seed=seed), without_reference, infos, words)


def _check_names(
    reference_dir: str | Path,
    references: Mapping[str, Path],
    generated_dir: str | Path,
    generated: Mapping[str, Path],
) -> None:
    """Refuse folders of which one is empty, or that share no name."""
    for folder, files in ((reference_dir, references), (generated_dir, generated)):
        if not files:
            raise ValueError(f"{folder} holds no audio: no file ending in {_LISTED}")
    if not references.keys() & generated.keys():
        raise ValueError(
            f"no file of {generated_dir} has the name of one in {reference_dir} (first reference: "
            f"{next(iter(references))}): names must agree up to the suffix"
        )


def _check_transcripts(transcripts: Mapping[str, str], references: Mapping[str, Path]) -> None:
    """Refuse transcripts none of which is a reference's."""
    if transcripts and not references.keys() & transcripts.keys():
        raise ValueError(
            f"no transcript belongs to a reference: the first one is called "
            f"{next(iter(transcripts))!r}, the first reference {next(iter(references))!r}"
        )


def _sources_of_words(
    scores: Sequence[PairScores], transcripts: Mapping[str, str]
) -> dict[str, int]:
    """Count the word error rates against a transcript and against what a recogniser heard."""
    read = [entry.name in transcripts for entry in scores if "wer" in entry]
    return {"transcript": sum(read), "recogniser": len(read) - sum(read)}


def find_transcripts(folder: str | Path) -> dict[str, str]:
    """Collect transcripts that lie beside audio files.

    Parameters
    ----------
    folder : str or Path
        Searched with its subfolders for audio files with a ``<name>.txt`` beside them (VCTK,
        LibriTTS), or a ``*.trans.txt`` with a name and its text on each line (LibriSpeech).

    Returns
    -------
    dict of str to str
        Text by relative name without suffix.
    """
    files = [Utterance(name, 0.0, str(path)) for name, path in audio_files(folder).items()]
    return {row.ID: row.wrd for row in read_transcripts_beside(files) if row.wrd}


def audio_files(folder: str | Path) -> dict[str, Path]:
    """Find the audio files of a folder and its subfolders.

    Parameters
    ----------
    folder : str or Path
        Where to look.

    Returns
    -------
    dict of str to Path
        Files by relative name without suffix, sorted.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If two files have one name.
    """
    folder = Path(folder)
    files: dict[str, Path] = {}
    for path in sorted(walk_files(folder, AUDIO_SUFFIXES)):
        # macOS and Linux spell accents in two ways
        name = normalize("NFC", path.relative_to(folder).with_suffix("").as_posix())
        if name in files:
            raise ValueError(f"two audio files of one name: {files[name]} and {path}")
        files[name] = path
    return files
