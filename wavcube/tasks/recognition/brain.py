"""Training of a recogniser by CTC (Graves et al., ICML 2006)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.nnet.losses import ctc_loss
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.metric_stats import ErrorRateStats
from torch import Tensor
from torch.optim import Optimizer

from wavcube.data.tokens import TextTokens
from wavcube.tasks.brain import TaskBrain, TaskSettings
from wavcube.tasks.recognition.model import RecognitionModel
from wavcube.tasks.recognition.search import CTCSearch
from wavcube.training.collectives import gathered
from wavcube.training.run_logger import Journal


class RecognitionBrain(TaskBrain):
    """Train a recogniser.

    Batches hold `labels`, and either `wav` or `states` of a cache. Validation reads the best path;
    its error rates are those of all utterances together, in percent.

    Parameters
    ----------
    model : RecognitionModel
        The model.
    settings : TaskSettings
        `best_metric` may be "wer", "cer" or "loss".
    tokens : TextTokens
        Of the labels.
    opt_class, hparams, run_opts, checkpointer, journal
        See :class:`~wavcube.tasks.brain.TaskBrain`.

    Raises
    ------
    ValueError
        If the model has another number of tokens, or see :class:`~wavcube.tasks.brain.TaskBrain`.
    """

    SCORES: ClassVar[Mapping[str, bool]] = {"wer": False, "cer": False, "loss": False}

    def __init__(
        self,
        model: RecognitionModel,
        settings: TaskSettings,
        tokens: TextTokens,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: Journal | None = None,
    ) -> None:
        if model.head.num_tokens != len(tokens):
            raise ValueError(
                f"the head has {model.head.num_tokens} tokens, the tokenizer {len(tokens)}"
            )
        super().__init__(model, settings, opt_class, hparams, run_opts, checkpointer, journal)
        self.tokens, self.search = tokens, CTCSearch(tokens)

    def compute_forward(self, batch: PaddedBatch, stage: Stage) -> tuple[Tensor, Tensor]:
        """Recognise.

        Parameters
        ----------
        batch : PaddedBatch
            With `wav`, or `states` of frames first, `[B, N, S, C]`.
        stage : Stage
            Of the experiment.
        """
        del stage
        batch = batch.to(self.device)
        if hasattr(batch, "states"):
            return self.modules.model(None, batch.states.lengths, batch.states.data.transpose(1, 2))
        return self.modules.model(*batch.wav)

    def compute_objectives(
        self, predictions: tuple[Tensor, Tensor], batch: PaddedBatch, stage: Stage
    ) -> Tensor:
        """Give the loss, the mean over utterances of it for each label; count errors.

        Parameters
        ----------
        predictions : tuple of Tensor
            Of :meth:`compute_forward`.
        batch : PaddedBatch
            With `labels` too.
        stage : Stage
            Of the experiment.
        """
        log_probs, lens = predictions
        labels, label_lens = batch.to(self.device).labels
        loss = ctc_loss(log_probs, labels, lens, label_lens, self.tokens.blank, reduction="mean")
        if stage != Stage.TRAIN:
            self.count_errors(batch, self.search(log_probs, lens))
        return loss

    def count_errors(self, batch: PaddedBatch, heard: list[str]) -> None:
        """Compare texts with the transcripts of a batch, words and characters."""
        count_errors(self.errors, list(map(str, batch.id)), heard, list(batch.wrd))

    def on_stage_start(self, stage: Stage, epoch: int | None = None) -> None:
        """Begin to count."""
        super().on_stage_start(stage, epoch)
        self.errors = new_counts()

    def gather_scores(self) -> None:
        """Collect the counts of errors, too."""
        super().gather_scores()
        for stats in self.errors.values():
            parts = gathered((stats.ids, stats.scores))
            stats.ids = [name for names, _ in parts for name in names]
            stats.scores = [counts for _, scores in parts for counts in scores]

    def on_stage_end(self, stage: Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Add the error rates to the scores of a validation."""
        super().on_stage_end(stage, stage_loss, epoch)
        if stage != Stage.TRAIN:
            rates = {name: stats.summarize("error_rate") for name, stats in self.errors.items()}
            self.stage_scores.update(rates)


def new_counts() -> dict[str, ErrorRateStats]:
    """Give SpeechBrain's counters of word ("wer") and character errors ("cer")."""
    return {"wer": ErrorRateStats(), "cer": ErrorRateStats(split_tokens=True, space_token=" ")}


def count_errors(
    errors: Mapping[str, ErrorRateStats], names: list[str], heard: list[str], said: list[str]
) -> None:
    """Count the errors of texts.

    Parameters
    ----------
    errors : Mapping of str to ErrorRateStats
        Of :func:`new_counts`.
    names : list of str
        IDs of the utterances.
    heard, said : list of str
        What was recognised, and the transcripts.

    Examples
    --------
    >>> errors = new_counts()
    >>> count_errors(errors, ["a"], ["ONE TOO"], ["ONE TWO"])
    >>> [round(stats.summarize("error_rate"), 1) for stats in errors.values()]
    [50.0, 14.3]
    """
    for stats in errors.values():
        stats.append(names, [text.split() for text in heard], [text.split() for text in said])
