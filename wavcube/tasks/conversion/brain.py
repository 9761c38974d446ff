"""Training of voice conversion: restore speech from copies in other voices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import Checkpointer
from torch import Tensor, nn
from torch.optim import Optimizer

from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.losses import MelLoss
from wavcube.tasks.brain import TaskBrain, TaskSettings
from wavcube.tasks.conversion.heads import SMALLEST_STD
from wavcube.tasks.conversion.model import Lesson, VoiceConverter
from wavcube.tasks.conversion.voice import Voice, masked_moments
from wavcube.training.run_logger import Journal

LOGGED_CLIPS = 2


class ConversionBrain(TaskBrain):
    """Train a voice converter on lessons.

    Validation generates: "latent" is the mean absolute error of the latents in units of the
    speaker's deviations, "mel" the log-mel distance of what the decoder makes of the generated
    latents and of the true ones, "loss" what training minimises.

    Parameters
    ----------
    model : VoiceConverter
        Any-to-any or any-to-one.
    settings : TaskSettings
        Length, schedule and best metric.
    opt_class, hparams, run_opts, checkpointer, journal
        See :class:`~wavcube.training.brain.GuardedBrain`.

    Examples
    --------
    >>> from wavcube.testing import tiny_converter
    >>> brain = ConversionBrain(tiny_converter(), TaskSettings(updates=1, lr=1e-3),
    ...     opt_class=torch.optim.AdamW, run_opts={"device": "cpu"})
    >>> brain.on_fit_start()
    >>> lesson = {name: torch.randn(5, 8) for name in ("source", "target", "reference")}
    >>> batch = PaddedBatch([{**lesson, "melody": torch.zeros(5, 2)}])
    >>> bool(brain.fit_batch(batch) > 0), brain.optimizer_step
    (True, 1)
    """

    SCORES: ClassVar[Mapping[str, bool]] = {"loss": False, "latent": False, "mel": False}
    model: VoiceConverter

    def __init__(
        self,
        model: VoiceConverter,
        settings: TaskSettings,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(model, settings, opt_class, hparams, run_opts, checkpointer, journal)
        self.mel_distance = MelLoss(model.sample_rate).to(self.device)

    def averaged_module(self) -> nn.Module:
        """Average the head: nothing else trains."""
        return self.model.head

    def compute_forward(self, batch: PaddedBatch, stage: Stage) -> Tensor:
        """Measure the loss of a batch of lessons.

        Parameters
        ----------
        batch : PaddedBatch
            With `source`, `target` and `reference` `[B, N, D]`, `melody` `[B, N, 2]` and, for a
            head that needs it, `embedding` `[B, E]`.
        stage : Stage
            Of the experiment.
        """
        del stage
        return self.modules.model(lesson=self.lesson(batch))

    def compute_objectives(self, predictions: Tensor, batch: PaddedBatch, stage: Stage) -> Tensor:
        """Give the loss, and in validation the scores of what is generated.

        Parameters
        ----------
        predictions : Tensor
            Of :meth:`compute_forward`.
        batch : PaddedBatch
            See there.
        stage : Stage
            Of the experiment.
        """
        if stage != Stage.TRAIN:
            self._score(self.lesson(batch))
        return predictions

    def lesson(self, batch: PaddedBatch) -> Lesson:
        """Give a batch the form that the model takes."""
        batch = batch.to(self.device)
        source, frames = _counted(batch.source)
        reference, known = _counted(batch.reference)
        embedding = batch.embedding.data if hasattr(batch, "embedding") else None
        melody = batch.melody.data
        # the melody is that of the target: nothing has to be moved to the voice's mean pitch
        voice = Voice(reference, known, torch.zeros_like(known, dtype=source.dtype), embedding)
        return Lesson(source, frames, melody[..., 0], melody[..., 1] > 0, voice, batch.target.data)

    def _score(self, lesson: Lesson) -> None:
        """Score each piece on its own, so that batches do not matter."""
        model = self.model
        made = model.head(*lesson.given())
        _, std = masked_moments(lesson.voice.latents, lesson.voice.frames)
        errors = (made - lesson.target).abs() / std[:, None].clamp(min=SMALLEST_STD)
        valid = length_mask(lesson.frames, made.shape[1])
        lens = lesson.frames / made.shape[1]
        pair = [model.representation.model.decode(part, lens) for part in (made, lesson.target)]
        for index, frames in enumerate(lesson.frames.tolist()):
            samples = frames * model.representation.hop
            wavs = [part[index : index + 1, :samples] for part in pair]
            distance = float(self.mel_distance(*wavs))
            self.score({"latent": float(errors[index][valid[index]].mean()), "mel": distance})
            self._show(*wavs)

    def _show(self, generated: Tensor, real: Tensor) -> None:
        """Put the first clips of a validation into TensorBoard."""
        clip = len(self._scores["mel"])
        if self.journal is None or clip > LOGGED_CLIPS:
            return
        for kind, wav in (("generated", generated), ("original", real)):
            title = f"{kind}/{clip}"
            self.journal.audio(title, wav[0], self.model.sample_rate, self.optimizer_step)


def _counted(part: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - SpeechBrain's named pair
    """Split padded data into the data and the count of each item."""
    data = part.data
    return data, to_absolute(part.lengths, data.shape[1], len(data), data.device)
