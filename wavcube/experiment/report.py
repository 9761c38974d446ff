"""Evaluation of trained latents on whole utterances: scores, table, samples and a picture."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from wavcube.data.audio import write_audio
from wavcube.data.crops import SpeechDataset
from wavcube.data.manifest import Utterance, evenly_spaced
from wavcube.experiment.card import describe_run
from wavcube.inference.inspection import require_matplotlib
from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.losses import LogMelSpectrogram
from wavcube.metrics import (
    DEFAULT_METRICS,
    METRICS,
    SignalPair,
    Summary,
    aggregate,
    score_many,
    score_pair,
)
from wavcube.metrics.base import NOT_COMPUTED
from wavcube.metrics.scores import select_metrics
from wavcube.utils.files import write_atomically

FEATURE_COLUMNS = {
    "cosine": "h_hat to teacher: cosine",
    "mse": "h_hat to teacher: MSE",
    "encoder_cosine": "encoder to teacher: cosine",
}

logger = logging.getLogger(__name__)


@dataclass
class Resynthesis:
    """What a model made of a test set.

    Parameters
    ----------
    sample_rate : int
        Of the waveforms, in Hz.
    originals, copies : dict of str to ndarray
        Waveforms `[T]` by utterance.
    features : dict of str to dict
        Closeness of the features to the teacher's by utterance; see :func:`compare_features`.
        Empty for a model without a teacher.
    transcripts : dict of str to str
        What is said, by utterance, where it is known.
    """

    sample_rate: int
    originals: dict[str, np.ndarray] = field(default_factory=dict)
    copies: dict[str, np.ndarray] = field(default_factory=dict)
    features: dict[str, dict[str, float]] = field(default_factory=dict)
    transcripts: dict[str, str] = field(default_factory=dict)


def compare_features(feature_hat: Tensor, own: Tensor, target: Tensor) -> dict[str, float]:
    """Measure how close features are to the teacher's.

    Parameters
    ----------
    feature_hat, own, target : Tensor
        Restored from the latent, the encoder's and the teacher's, `[N, C]` each, without padding.

    Returns
    -------
    dict of str to float
        "cosine" (mean over frames) and "mse" of the restored, "encoder_cosine" of the encoder's.

    Examples
    --------
    >>> feature = torch.ones(2, 4)
    >>> compare_features(feature, -feature, feature)
    {'cosine': 1.0, 'mse': 0.0, 'encoder_cosine': -1.0}
    """
    hat, own, target = feature_hat.float(), own.float(), target.float()
    return {
        "cosine": float(cosine_similarity(hat, target, dim=-1).mean()),
        "mse": float((hat - target).square().mean()),
        "encoder_cosine": float(cosine_similarity(own, target, dim=-1).mean()),
    }


@torch.inference_mode()
def resynthesize(
    model: LatentCodec,
    teacher: SSLEncoder | None,
    utterances: SpeechDataset,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Resynthesis:
    """Encode and decode utterances one by one.

    Parameters
    ----------
    model : LatentCodec
        A WavCube with its semantic decoder, or an AcousticCodec.
    teacher : SSLEncoder, optional
        The encoder before it was trained on; None for an AcousticCodec.
    utterances : SpeechDataset
        Items with "id" and "wav" `[T]`.
    device : str or torch.device
        Where to compute; both are moved there.
    progress : bool
        Show a bar.

    Returns
    -------
    Resynthesis
        Waveforms of the original lengths, and the features' closeness.
    """
    model = model.to(device).eval()
    if teacher is not None:
        teacher.to(device)
    result = Resynthesis(model.sample_rate)
    bar = tqdm(range(len(utterances)), desc="resynthesis", unit="clip", disable=not progress)
    for index in bar:
        item = utterances[index]
        wav = item["wav"].to(device)[None]
        output = model(wav)
        name = str(item["id"])
        result.originals[name] = wav[0].cpu().numpy()
        result.copies[name] = output.audio[0].float().cpu().numpy()
        if teacher is not None:
            samples = torch.tensor([wav.shape[1]], device=wav.device)
            target = teacher(wav, samples, output.mask.sum(1)).feature
            features = output.feature_hat, output.feature, target
            result.features[name] = compare_features(*(feature[0] for feature in features))
    return result


def score_rows(
    rows: Mapping[str, Resynthesis],
    metrics: Sequence[str] = DEFAULT_METRICS,
    num_processes: int = 1,
    progress: bool = True,
) -> dict[str, dict[str, Summary]]:
    """Score several models on one test set.

    Parameters
    ----------
    rows : Mapping of str to Resynthesis
        By the label of the row.
    metrics : Sequence of str
        Keys of ``wavcube.metrics.METRICS``.
    num_processes : int
        See :func:`wavcube.metrics.score_many`.
    progress : bool
        Show a bar.

    Returns
    -------
    dict of str to dict
        By row and column; the columns are the metrics and, where there was a teacher,
        ``FEATURE_COLUMNS``.
    """
    pairs = [
        SignalPair(
            f"{label}/{name}",
            result.originals[name],
            copy,
            result.sample_rate,
            result.transcripts.get(name),
        )
        for label, result in rows.items()
        for name, copy in result.copies.items()
    ]
    scores = score_many(pairs, metrics, num_processes, progress)
    table: dict[str, dict[str, Summary]] = {}
    for label, result in rows.items():
        own = [score for score in scores if score.name.startswith(f"{label}/")]
        table[label] = {**aggregate(own), **_feature_summaries(result)}
    return table


def _feature_summaries(result: Resynthesis) -> dict[str, Summary]:
    summaries = {}
    for key, column in FEATURE_COLUMNS.items() if result.features else ():
        values = [closeness[key] for closeness in result.features.values()]
        summaries[column] = Summary(float(np.mean(values)), None, None, len(values))
    return summaries


def write_metrics(
    path: str | Path,
    table: Mapping[str, Mapping[str, Summary]],
    facts: Mapping[str, Any],
) -> None:
    """Write the table as JSON, with what each number means, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file.
    table : Mapping
        Of :func:`score_rows`.
    facts : Mapping of str
        Plain data about the run.
    """
    content = {**facts, **table_as_dict(table)}
    write_atomically(path, f"{json.dumps(content, indent=2)}\n".encode(), overwrite=True)


def table_as_dict(table: Mapping[str, Mapping[str, Summary]]) -> dict[str, Any]:
    """Give a table as plain data, with what each number means.

    Parameters
    ----------
    table : Mapping
        Of :func:`score_rows`.

    Returns
    -------
    dict
        "scores" by row and column, and "metrics", the definitions of the columns.
    """
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    meanings = {key: METRICS[key].info.as_dict() for key in columns if key in METRICS}
    scores = {
        label: {column: summary.as_dict() for column, summary in row.items()}
        for label, row in table.items()
    }
    return {"scores": scores, "metrics": meanings}


def write_samples(
    folder: str | Path, rows: Mapping[str, Resynthesis], clips: int = 3
) -> list[Path]:
    """Write some clips as wav files, original and copies, and a picture of all of them.

    Parameters
    ----------
    folder : str or Path
        Made if missing.
    rows : Mapping of str to Resynthesis
        By label; all of the same test set.
    clips : int
        How many utterances.

    Returns
    -------
    list of Path
        The files, the picture last.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(rows.values()))
    signals = {"original": first.originals, **{label: row.copies for label, row in rows.items()}}
    names, paths = evenly_spaced(list(first.originals), clips), []
    for name in names:
        for label, waves in signals.items():
            # an ID of the user's own table is not a path
            stem = re.sub(r"[^\w.-]", "-", f"{name}_{label.replace(' ', '')}")
            paths.append(folder / f"{stem}.wav")
            write_audio(paths[-1], torch.from_numpy(waves[name]), first.sample_rate)
    picture = folder / "spectrograms.png"
    _draw(picture, signals, names, first.sample_rate)
    return [*paths, picture]


def _draw(
    path: Path, signals: Mapping[str, Mapping[str, np.ndarray]], names: list[str], sample_rate: int
) -> None:
    """Draw log-mel spectrograms: a row for each kind of signal, a column for each clip."""
    from matplotlib.figure import Figure

    log_mel = LogMelSpectrogram(sample_rate)
    figure = Figure(figsize=(4.5 * len(names), 1.9 * len(signals)), layout="constrained")
    axes = figure.subplots(len(signals), len(names), squeeze=False, sharex="col", sharey=True)
    for row, (label, waves) in zip(axes, signals.items(), strict=True):
        row[0].set_ylabel(f"{label}\nmel band")
        for axis, name in zip(row, names, strict=True):
            image = log_mel(torch.from_numpy(waves[name])[None])[0].numpy()
            extent = (0.0, len(waves[name]) / sample_rate, 0, len(image))
            axis.imshow(image, origin="lower", aspect="auto", extent=extent, vmin=-8, vmax=3)
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("seconds")
    figure.savefig(path, dpi=90)


COUNTS = (
    "valid_utterances", "valid_sentences", "valid_lessons", "test_utterances", "sample_clips",
    "scoring_processes", "batch_size",
)  # fmt: skip


def check_evaluation(hparams: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse what would end the evaluation, hours later, of a run that has been trained.

    Parameters
    ----------
    hparams : Mapping
        Of the recipe.
    model : nn.Module
        The lobe, which the release's card describes.

    Raises
    ------
    ValueError
        If a metric or an entry of the card is unknown, a count is below 1, or matplotlib, which
        draws the samples, is not installed.
    """
    select_metrics(hparams["metrics"])
    check_counts(hparams)
    describe_run(model, hparams, {})
    require_matplotlib()


def check_counts(hparams: Mapping[str, Any]) -> None:
    """Refuse a count, of those that a recipe has, which is below 1; of workers, below 0.

    Parameters
    ----------
    hparams : Mapping
        Of the recipe.

    Raises
    ------
    ValueError
        If there is one; it names the count.

    Examples
    --------
    >>> check_counts({"sample_clips": 0})
    Traceback (most recent call last):
    ...
    ValueError: sample_clips is 0: give 1 or more
    """
    for key in COUNTS:
        if hparams.get(key, 1) < 1:
            raise ValueError(f"{key} is {hparams[key]}: give 1 or more")
    if hparams.get("num_workers", 0) < 0:
        raise ValueError(f"num_workers is {hparams['num_workers']}: give 0 or more")


def check_best_metric(metric: str, measured: Container[str], sample_rate: int) -> str:
    """Refuse to choose the best checkpoint by a metric that cannot be computed.

    It is tried on noise: it may need a higher rate.

    Parameters
    ----------
    metric : str
        A key of ``wavcube.metrics.METRICS``; any other name is left to the Brain.
    measured : container of str
        What the Brain's validation measures; it refuses others itself.
    sample_rate : int
        Of the model, in Hz.

    Returns
    -------
    str
        The metric, or "loss" where its package is missing, which is warned of.

    Raises
    ------
    ValueError
        If it fails; the message says why.

    Examples
    --------
    >>> check_best_metric("pesq_wb", ["pesq_wb"], 8000)
    Traceback (most recent call last):
    ...
    ValueError: best_metric 'pesq_wb' cannot be computed: PESQ-WB needs 16000 Hz, the reference ...
    """
    if metric not in METRICS or metric not in measured:
        return metric
    noise, other = np.random.default_rng(0).normal(0.0, 0.1, (2, 2 * sample_rate))
    failures = score_pair(noise, noise + other, sample_rate, [metric]).failures
    if not failures:
        return metric
    if failures[metric].startswith(NOT_COMPUTED):
        logger.warning("the loss chooses the best checkpoint, not %s: %s", metric, failures[metric])
        return "loss"
    raise ValueError(f"best_metric {metric!r} cannot be computed: {failures[metric]}")


def choose_rows(
    rows: Sequence[Utterance], role: str, count: int, shortest: float, longest: float
) -> list[Utterance]:
    """Choose the utterances of validation or test, at even distances.

    Parameters
    ----------
    rows : sequence of Utterance
        All that there are.
    role : str
        "valid" or "test", for the message.
    count : int
        How many at most.
    shortest, longest : float
        Seconds that one may last: a score may need some speech, and the cost of attention over a
        whole utterance grows with its length squared.

    Raises
    ------
    ValueError
        If none lasts between the two.

    Examples
    --------
    >>> rows = [Utterance(f"{i}", i / 2, "a.wav") for i in range(6)]
    >>> [row.ID for row in choose_rows(rows, "test", 2, 1.0, 2.0)]
    ['2', '3']
    """
    long_enough = [row for row in rows if row.duration >= shortest]
    if not long_enough:
        raise ValueError(f"no {role} utterance lasts {shortest} s: lower shortest_test")
    chosen = [row for row in long_enough if row.duration <= longest]
    if not chosen:
        raise ValueError(
            f"every {role} utterance of {shortest} s or more is longer than {longest} s: raise "
            f"longest_test, or cut the recordings"
        )
    return evenly_spaced(chosen, count)


def count_longer(rows: Sequence[Utterance], longest: float) -> int:
    """Count the utterances that last longer than so many seconds.

    Parameters
    ----------
    rows : sequence of Utterance
        Of validation or test.
    longest : float
        Seconds.

    Examples
    --------
    >>> count_longer([Utterance("a", 31.0, "a.wav"), Utterance("b", 30.0, "b.wav")], 30.0)
    1
    """
    return sum(row.duration > longest for row in rows)
