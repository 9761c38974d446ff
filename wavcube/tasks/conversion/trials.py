"""Which conversions are judged, and how: parallel sentences between all pairs of speakers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wavcube.data.audio import read_audio
from wavcube.data.manifest import Utterance
from wavcube.metrics import PairScores, SignalPair, Summary, aggregate, score_many
from wavcube.metrics.recognition import normalize_text

TO_TARGET, TO_SOURCE = "Similarity to target ↑", "Similarity to source ↓"
NEARER = "Pairs nearer the target ↑"
ACCEPTED = "Accepted as the target ↑"
# the cosine above which SUPERB-SG takes a voice for the target's: on VCC2020's recordings
# (task 1) false acceptances and false rejections are equally frequent there
ACCEPTANCE = 0.7405614
# metrics of the converted speech and its source; and of it and a recording of the target, which
# must be of the same sentence for a distortion
KEPT = ("wer", "f0_correlation", "voicing_error")
GAINED = ("f0_mean_difference",)
DISTORTION = "mel_cepstral_distortion"


@dataclass(frozen=True)
class Trial:
    """One conversion to judge.

    Parameters
    ----------
    source : Utterance
        What is said.
    target : str
        The speaker whose voice is wanted.
    references : tuple of Utterance
        Recordings of the target, of other sentences.
    parallel : Utterance, optional
        The target's own recording of the sentence.
    judge : Utterance
        What the conversion is compared with: ``parallel``; without it another recording of the
        target, which is a reference only where the target has no further one.
    """

    source: Utterance
    target: str
    references: tuple[Utterance, ...]
    parallel: Utterance | None
    judge: Utterance

    @property
    def name(self) -> str:
        """Give the trial a name of its own."""
        return f"{self.source.ID} to {self.target}"

    @property
    def pair(self) -> tuple[str, str]:
        """Source and target speaker."""
        return self.source.spk_id, self.target


def make_trials(
    rows: Sequence[Utterance],
    further: Sequence[Utterance] = (),
    *,
    sentences: int,
    reference_seconds: float,
    targets: Sequence[str] | None = None,
) -> list[Trial]:
    """Pair speakers, each as source and as target; sentences that both say come first.

    Parameters
    ----------
    rows : sequence of Utterance
        To convert, with speakers.
    further : sequence of Utterance
        More recordings of the targets, for references.
    sentences : int
        Of each pair.
    reference_seconds : float
        References are added up to this duration.
    targets : sequence of str, optional
        By default all speakers of ``rows``.

    Returns
    -------
    list of Trial
        In the order of the speakers' names.

    Raises
    ------
    ValueError
        If a row has no speaker, there is no pair, or a target has no recording of another sentence.
    """
    if nameless := [row for row in (*rows, *further) if not row.spk_id]:
        raise ValueError(
            f"{nameless[0].ID!r} ({nameless[0].wav}) has no speaker: add the column 'spk_id', or "
            "put each speaker's recordings into a folder"
        )
    speakers = sorted({row.spk_id for row in rows})
    targets = speakers if targets is None else list(targets)
    pairs = [(source, target) for source in speakers for target in targets if source != target]
    if not pairs:
        raise ValueError(f"conversion is tested between speakers, and there is only {speakers}")
    trials = []
    for number, (source, target) in enumerate(pairs):
        own = [row for row in (*rows, *further) if row.spk_id == target]
        spoken = {normalize_text(row.wrd): row for row in own if row.wrd}
        said = [row for row in rows if row.spk_id == source]
        # other pairs begin at other sentences
        said = said[number % len(said) :] + said[: number % len(said)]
        said.sort(key=lambda row: normalize_text(row.wrd) not in spoken)
        for row in said[:sentences]:
            parallel = spoken.get(normalize_text(row.wrd)) if row.wrd else None
            others = _others(own, row, parallel)
            judge = parallel or others[-1]
            heard = [other for other in others if other is not judge] or others
            references = _references(heard, reference_seconds)
            trials.append(Trial(row, target, references, parallel, judge))
    return trials


def _others(
    own: Sequence[Utterance], row: Utterance, parallel: Utterance | None
) -> list[Utterance]:
    """List recordings of the target in which the sentence is not said."""
    words = normalize_text(row.wrd)
    others = [
        other for other in own
        if other is not parallel and not (words and normalize_text(other.wrd) == words)
    ]  # fmt: skip
    if not others:
        only = f"{own[0].ID!r}, {own[0].wav}" if own else "none"
        raise ValueError(
            f"speaker {row.spk_id if not own else own[0].spk_id!r} has no recording of another "
            f"sentence to convert {row.ID!r} by ({only}): add one, or leave the speaker out"
        )
    return others


def _references(others: Sequence[Utterance], seconds: float) -> tuple[Utterance, ...]:
    """Take recordings up to so many seconds."""
    chosen, total = [], 0.0
    for other in others:
        chosen.append(other)
        total += other.duration
        if total >= seconds:
            break
    return tuple(chosen)


def read_references(trial: Trial, sample_rate: int, seconds: float) -> Tensor:
    """Read a trial's references, one after the other: `[T]`, at most so many seconds."""
    wavs = [read_audio(row.wav, sample_rate) for row in trial.references]
    return torch.cat(wavs)[: round(seconds * sample_rate)]


def score_trials(
    trials: Sequence[Trial],
    converted: Mapping[str, Tensor],
    sample_rate: int,
    metrics: Sequence[str] = ("wer", "f0_correlation", DISTORTION, *GAINED),
    processes: int = 1,
    progress: bool = True,
) -> dict[str, Summary]:
    """Score conversions.

    Similarities are Resemblyzer's, to the trial's ``judge`` and to the source; word errors are
    counted against the transcript.

    Parameters
    ----------
    trials : sequence of Trial
        What was converted.
    converted : mapping of str to Tensor
        Waveforms `[T]` by the trials' names.
    sample_rate : int
        Of them, in Hz.
    metrics : sequence of str
        Of ``KEPT`` and ``GAINED``, and ``DISTORTION``, beside the similarities.
    processes : int
        To score in.
    progress : bool
        Show a bar.

    Returns
    -------
    dict of str to Summary
        By column; "pairs nearer the target" is the share of pairs of speakers whose similarity to
        the target is above that to the source, on average over their sentences, "accepted as the
        target" SUPERB-SG's rate (:func:`accept_rate`). The distortion is of the trials with a
        parallel recording; its ``count`` says how many.

    Raises
    ------
    ValueError
        If a metric is not one of these.
    """
    check_metrics(metrics)

    def scored(
        trials: Sequence[Trial], metrics: Sequence[str], other: Callable[[Trial], Utterance]
    ) -> list[PairScores]:
        pairs = [
            SignalPair(
                trial.name,
                read_audio(other(trial).wav, sample_rate).numpy(),
                converted[trial.name].numpy(),
                sample_rate,
                trial.source.wrd or None,
            )
            for trial in trials
        ]
        return score_many(pairs, metrics, processes, progress)

    gained, kept = ([key for key in keys if key in metrics] for keys in (GAINED, KEPT))
    to_source = scored(trials, ("speaker_similarity", *kept), lambda trial: trial.source)
    to_target = scored(trials, ("speaker_similarity", *gained), lambda trial: trial.judge)
    of_source, of_target = aggregate(to_source), aggregate(to_target)
    parallel = [trial for trial in trials if trial.parallel]
    aligned = {}
    if DISTORTION in metrics and parallel:
        aligned = aggregate(scored(parallel, (DISTORTION,), lambda trial: trial.judge))
    return {
        TO_TARGET: of_target.pop("speaker_similarity"),
        TO_SOURCE: of_source.pop("speaker_similarity"),
        NEARER: _nearer(trials, to_target, to_source),
        ACCEPTED: accept_rate(to_target),
        **aligned,
        **of_target,
        **of_source,
    }


def check_metrics(metrics: Sequence[str]) -> None:
    """Refuse metrics that say nothing of a conversion, with a ValueError.

    Examples
    --------
    >>> check_metrics(["stoi"])
    Traceback (most recent call last):
    ...
    ValueError: metrics ['stoi'] are none of conversion's: ['f0_correlation', ...
    """
    known = sorted((*KEPT, *GAINED, DISTORTION))
    if unknown := sorted(set(metrics) - set(known)):
        raise ValueError(f"metrics {unknown} are none of conversion's: {known}")


def pair_similarities(
    trials: Sequence[Trial], scores: Sequence[PairScores]
) -> dict[tuple[str, str], float]:
    """Average the similarity over the sentences of each pair of speakers; failures are left out."""
    found: dict[tuple[str, str], list[float]] = {}
    for trial, score in zip(trials, scores, strict=True):
        if "speaker_similarity" in score:
            found.setdefault(trial.pair, []).append(score["speaker_similarity"])
    return {pair: float(np.mean(values)) for pair, values in found.items()}


def accept_rate(scores: Sequence[PairScores]) -> Summary:
    """Give the share of conversions that SUPERB-SG's speaker verification takes for the target.

    Parameters
    ----------
    scores : sequence of PairScores
        With the similarity of each conversion to the target's own recording.

    Returns
    -------
    Summary
        Of those that have one; the others are its failures.

    Examples
    --------
    >>> from wavcube.metrics import Measurement
    >>> found = [{"speaker_similarity": Measurement(value)} for value in (0.9, 0.741, 0.74, 0.3)]
    >>> accept_rate([PairScores("a", 16000, own) for own in found]).mean
    0.5
    """
    key = "speaker_similarity"
    accepted = [score[key] > ACCEPTANCE for score in scores if key in score]
    failed = tuple((score.name, score.failures[key]) for score in scores if key not in score)
    mean = float(np.mean(accepted)) if accepted else None
    return Summary(mean, None, None, len(accepted), failed)


def _nearer(
    trials: Sequence[Trial], to_target: Sequence[PairScores], to_source: Sequence[PairScores]
) -> Summary:
    gained, kept = pair_similarities(trials, to_target), pair_similarities(trials, to_source)
    both = [pair for pair in gained if pair in kept]
    if not both:
        return Summary(None, None, None, 0)
    share = float(np.mean([gained[pair] > kept[pair] for pair in both]))
    return Summary(share, None, None, len(both))
