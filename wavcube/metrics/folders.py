"""Evaluating a folder of generated files against a folder of references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from wavcube.data.transcripts import read_transcripts
from wavcube.metrics.base import Metric
from wavcube.metrics.evaluation import Evaluation
from wavcube.metrics.registry import METRICS, add_model_metrics, select_metrics
from wavcube.metrics.report import aggregate
from wavcube.metrics.scores import PairScores, score_many
from wavcube.metrics.signals import SignalPair
from wavcube.utils.suffixes import AUDIO_SUFFIXES

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
        for name, text in read_transcripts(path).items():
            texts[(path.parent.relative_to(folder) / name).as_posix()] = text
    for name, path in audio_files(folder).items():
        beside = path.with_suffix(".txt")
        if name not in texts and beside.is_file():
            texts[name] = beside.read_text(encoding="utf-8").strip()
    return texts


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
