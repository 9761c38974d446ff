"""Masked prediction of cluster targets: pretraining of the small SSL encoder."""

from __future__ import annotations

from typing import Any

import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from torch.nn import functional as F

from wavcube.data.corruption import add_coloured_noise, limit_band, mix_utterances
from wavcube.lobes.lengths import length_mask, to_absolute


def span_mask(num_frames: Tensor, size: int, probability: float, span: int) -> Tensor:
    """Draw the frames to hide: spans that start anywhere and may overlap.

    Parameters
    ----------
    num_frames : Tensor
        Valid frames `[B]`.
    size : int
        Padded frames N.
    probability : float
        Of a frame to start a span.
    span : int
        Frames.

    Returns
    -------
    Tensor
        Booleans `[B, N]`; every item has a hidden frame, no padding is hidden.

    Examples
    --------
    >>> bool(span_mask(torch.tensor([9]), 10, 1.0, 3)[0, -1])
    False
    """
    valid = length_mask(num_frames, size)
    starts = torch.rand(valid.shape, device=valid.device) < probability
    certain = (torch.rand(len(valid), device=valid.device) * num_frames).long()
    starts[torch.arange(len(valid)), certain] = True
    hidden = F.max_pool1d(F.pad(starts.float()[:, None], (span - 1, 0)), span, stride=1)
    return hidden.squeeze(1).bool() & valid


class PretrainingBrain(sb.Brain):
    """Predict the clusters of hidden frames from corrupted speech.

    Modules: `encoder` (SSLEncoder), `predictor` (linear, C to K). Hyperparameters: `targets`
    (ClusterTargets), `mask_probability`, `mask_span`, `mix_probability`, `mix_ratio_db`,
    `noise_probability`, `noise_ratio_db`, `band_probability`, `band_cutoff`.
    """

    def compute_forward(self, batch: PaddedBatch, stage: sb.Stage) -> dict[str, Tensor]:
        """Predict.

        Parameters
        ----------
        batch : PaddedBatch
            With `wav`: waveforms `[B, T]` and relative lengths.
        stage : sb.Stage
            Only training corrupts its input.

        Returns
        -------
        dict of Tensor
            `logits` `[M, K]` and `targets` `[M]` of the M hidden frames.
        """
        wavs, lens = batch.to(self.device).wav
        samples = to_absolute(lens, wavs.shape[1], len(wavs), wavs.device)
        classes = self.hparams.targets(wavs, samples)
        hop = self.encoder.hop
        frames = (samples + hop - 1).div(hop, rounding_mode="floor")
        hidden = span_mask(
            frames, classes.shape[1], self.hparams.mask_probability, self.hparams.mask_span
        )
        if stage == sb.Stage.TRAIN:
            wavs = self.corrupt(wavs)
        feature = self.modules.encoder(wavs, samples, span_mask=hidden).feature
        return {"logits": self.modules.predictor(feature[hidden]), "targets": classes[hidden]}

    @property
    def encoder(self) -> torch.nn.Module:
        """The encoder without a distributed wrapper around it."""
        return getattr(self.modules.encoder, "module", self.modules.encoder)

    def corrupt(self, wavs: Tensor) -> Tensor:
        """Mix, add noise, limit the band: `[B, T]` to `[B, T]`."""
        settings = self.hparams
        wavs = mix_utterances(wavs, settings.mix_probability, settings.mix_ratio_db)
        wavs = add_coloured_noise(wavs, settings.noise_probability, settings.noise_ratio_db)
        rate = self.encoder.sample_rate
        return limit_band(wavs, settings.band_probability, settings.band_cutoff, rate)

    def compute_objectives(
        self, predictions: dict[str, Tensor], batch: PaddedBatch, stage: sb.Stage
    ) -> Tensor:
        """Cross-entropy over the hidden frames; counts the right ones outside training."""
        logits, targets = predictions["logits"].float(), predictions["targets"]
        if stage != sb.Stage.TRAIN:
            self.right += int((logits.argmax(-1) == targets).sum())
            self.hidden += len(targets)
        return F.cross_entropy(logits, targets)

    def on_stage_start(self, stage: sb.Stage, epoch: int | None = None) -> None:
        """Reset the counters; tell the crops their epoch."""
        self.right = self.hidden = 0
        if stage == sb.Stage.TRAIN:
            self.hparams.crops.set_epoch(epoch)

    def on_fit_batch_end(
        self, batch: PaddedBatch, outputs: Any, loss: Tensor, should_step: bool
    ) -> None:
        """Follow the learning rate's schedule, update by update."""
        if should_step:
            self.schedule.step()

    def on_stage_end(self, stage: sb.Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Log, and keep the newest checkpoint."""
        if stage == sb.Stage.TRAIN:
            self.train_loss = stage_loss
            return
        accuracy = self.right / max(1, self.hidden)
        self.hparams.train_logger.log_stats(
            {"epoch": epoch, "updates": self.optimizer_step, "lr": self.schedule.get_last_lr()[0]},
            train_stats={"loss": self.train_loss},
            valid_stats={"loss": stage_loss, "accuracy": accuracy},
        )
        if self.checkpointer is not None:
            self.checkpointer.save_and_keep_only(meta={"accuracy": accuracy}, num_to_keep=1)

    def init_optimizers(self) -> None:
        """Build the optimizer and its schedule, both recovered with a run."""
        super().init_optimizers()
        self.schedule = self.hparams.schedule(self.optimizer)
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("schedule", self.schedule)
