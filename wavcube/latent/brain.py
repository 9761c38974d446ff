"""Training of the latent, both stages (arXiv 2605.06407, section 3).

Stage 1 trains bottleneck and decoder behind a frozen SSL encoder, stage 2 all of it against a
frozen copy of that encoder. They are one class: what differs is in :class:`LatentSettings`. So is
the single stage of an acoustic codec, which has no semantic terms (:class:`AcousticSettings`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import Checkpointer
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from wavcube.experiment.report import compare_features
from wavcube.latent.settings import AcousticSettings, DecoderSettings, LatentSettings
from wavcube.lobes.bottleneck import VariationalBottleneck
from wavcube.lobes.latent_codec import CodecOutput, LatentCodec
from wavcube.lobes.layers.modes import activation_checkpointing
from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.lobes.ssl.encoder import SSLEncoder, unused_parameters
from wavcube.lobes.wavcube import WavCube, WavCubeOutput
from wavcube.losses import (
    MelLoss,
    MultiScaleMelLoss,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
    kl_divergence,
    semantic_loss,
    weighted_sum,
)
from wavcube.training.brain import GuardedBrain, unwrap
from wavcube.training.distributed import same_everywhere
from wavcube.training.run_logger import RunLogger


@dataclass
class AdversarialLosses:
    """Adversarial losses of one batch, scalars.

    Parameters
    ----------
    discriminator : Tensor
        Hinge loss of the discriminators.
    adversarial : Tensor
        Hinge loss of the generator.
    feature_matching : Tensor
        Distance of the feature maps.
    """

    discriminator: Tensor
    adversarial: Tensor
    feature_matching: Tensor


class Discriminators(nn.ModuleDict):
    """Discriminators by name, judging real and generated speech once each.

    One graph serves both sides: its losses must be sent backward to the parameters of their own
    side only, as :class:`~wavcube.training.optimizers.OptimizerSet` does. The terms of the families
    are added (WavCube weighs its two alike).

    Parameters
    ----------
    families : Mapping of str to nn.Module
        Such as MultiPeriodDiscriminator and MultiResolutionDiscriminator.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.decoder.discriminators import MultiPeriodDiscriminator
    >>> discriminators = Discriminators({"period": MultiPeriodDiscriminator((2,), (4, 4))})
    >>> real = torch.randn(2, 1600)
    >>> discriminators(real, real).feature_matching.item()
    0.0
    """

    def __init__(self, families: Mapping[str, nn.Module]) -> None:
        super().__init__(dict(families))

    def forward(self, real: Tensor, generated: Tensor) -> AdversarialLosses:
        """Tell real from generated speech.

        Parameters
        ----------
        real, generated : Tensor
            Waveforms `[B, T]`, silent in the padding.

        Returns
        -------
        AdversarialLosses
            The losses of both sides.
        """
        by_family: list[tuple[Tensor, Tensor, Tensor]] = []
        # the normed weights are made once for both
        with parametrize.cached():
            for discriminator in self.values():
                # not as one batch: the generator's gradient would go back through real speech, too
                real_scores, real_maps = discriminator(real)
                fake_scores, fake_maps = discriminator(generated)
                judged = discriminator_hinge(real_scores, fake_scores)
                matching = feature_matching(real_maps, fake_maps)
                by_family.append((judged, generator_hinge(fake_scores), matching))
        terms = zip(*by_family, strict=True)
        return AdversarialLosses(*(torch.stack(families).sum() for families in terms))


LOGGED_CLIPS = 2


class LatentBrain(GuardedBrain):
    """Train a WavCube, or an acoustic codec.

    One pass of the generator and one of the discriminators serve the updates of both. The teacher
    is a frozen copy that belongs to the Brain: it is in no checkpoint and no optimizer. Where the
    encoder does not train, its own feature is the target and no teacher is run.

    Parameters
    ----------
    model : LatentCodec
        A WavCube with its semantic decoder, or an AcousticCodec.
    settings : LatentSettings
        The stage; AcousticSettings for an AcousticCodec, DecoderSettings for either.
    discriminators : Discriminators, optional
        The discriminators, for stages with adversarial terms.
    teacher : SSLEncoder, optional
        Source of the target where the encoder trains, frozen here; by default a copy of the model's
        encoder as it is now. An AcousticCodec has none.
    mel_loss : MelLoss or MultiScaleMelLoss, optional
        Reconstruction term; by default the log-mel distance that validation measures.
    opt_class, hparams, run_opts, checkpointer, journal
        See :class:`~wavcube.training.brain.GuardedBrain`.

    Raises
    ------
    ValueError
        If the settings name terms for which the model or the discriminators are missing, or
        settings and model are of different kinds.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> settings = LatentSettings(updates=1, weights={"mel": 45, "semantic": 1}, lr=1e-3)
    >>> brain = LatentBrain(tiny_wavcube(), settings, opt_class=torch.optim.AdamW,
    ...     run_opts={"device": "cpu"})
    >>> brain.on_fit_start()
    >>> batch = PaddedBatch([{"wav": torch.randn(1600)}, {"wav": torch.randn(3200)}])
    >>> bool(brain.fit_batch(batch) > 0), brain.optimizer_step
    (True, 1)
    """

    settings: LatentSettings

    def __init__(
        self,
        model: LatentCodec,
        settings: LatentSettings,
        discriminators: Discriminators | None = None,
        teacher: SSLEncoder | None = None,
        mel_loss: MelLoss | MultiScaleMelLoss | None = None,
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        journal: RunLogger | None = None,
    ) -> None:
        _check(settings, model, discriminators, teacher)
        _choose_trained(model, settings)
        activation_checkpointing(model, settings.activation_checkpointing)
        modules: dict[str, nn.Module] = {"wavcube": model}
        if settings.is_adversarial and discriminators is not None:
            modules["discriminators"] = discriminators
        super().__init__(
            modules, opt_class, hparams, run_opts, checkpointer, settings=settings, journal=journal
        )
        self.teacher: SSLEncoder | None = None
        if settings.train_encoder != "none" and isinstance(model, WavCube):
            teacher = copy.deepcopy(model.encoder) if teacher is None else teacher
            self.teacher = teacher.to(self.device).eval().requires_grad_(False)
            same_everywhere(self.teacher)
        self.mel_distance = MelLoss(model.sample_rate).to(self.device)
        self.mel_loss = self.mel_distance if mel_loss is None else mel_loss.to(self.device)

    @property
    def model(self) -> LatentCodec:
        """The model without a wrapper."""
        return unwrap(self.modules.wavcube)

    def averaged_module(self) -> nn.Module:
        """Average the model, not the discriminators."""
        return self.model

    def trainable(self) -> dict[str, list[dict[str, Any]]]:
        """Give generator (encoder and the rest at their own rates) and discriminators."""
        encoder = [p for p in self.model.encoder.parameters() if p.requires_grad]
        known = {id(p) for p in self.model.encoder.parameters()}
        rest = [p for p in self.model.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": rest, "lr": self.settings.lr, "name": "generator"}]
        if encoder:
            groups.append({"params": encoder, "lr": self.settings.encoder_lr, "name": "encoder"})
        if not self.settings.is_adversarial:
            return {"generator": groups}
        discriminators = list(self.modules.discriminators.parameters())
        rate = self.settings.discriminator_lr
        own = [{"params": discriminators, "lr": rate, "name": "discriminator"}]
        return {"discriminator": own, "generator": groups}

    def updates_of(self, name: str) -> int:
        """Give the updates of an optimizer: the discriminators' begin later."""
        late = self.settings.adversarial_start if name == "discriminator" else 0
        return self.settings.updates - late

    def compute_forward(self, batch: PaddedBatch, stage: Stage) -> CodecOutput:
        """Encode and decode.

        Parameters
        ----------
        batch : PaddedBatch
            With `wav`: waveforms `[B, T]` and relative lengths `[B]`.
        stage : Stage
            Of the experiment.
        """
        del stage
        wavs, lens = batch.to(self.device).wav
        return self.modules.wavcube(wavs, lens, detach_latent=self.settings.detach_latent)

    def compute_objectives(
        self, predictions: CodecOutput, batch: PaddedBatch, stage: Stage
    ) -> dict[str, Tensor] | Tensor:
        """Give the loss of each optimizer in training, the log-mel distance otherwise.

        Parameters
        ----------
        predictions : CodecOutput
            Of :meth:`compute_forward`.
        batch : PaddedBatch
            The same.
        stage : Stage
            Of the experiment.
        """
        wavs, lens = batch.to(self.device).wav
        samples = to_absolute(lens, wavs.shape[1], len(wavs), wavs.device)
        target = self.target(predictions, wavs, samples)
        if stage != Stage.TRAIN:
            return self._score(predictions, wavs, samples, target)
        terms, losses = self._terms(predictions, wavs, samples, target), {}
        weights = self.settings.weights_at(self.optimizer_step)
        if "adversarial" in weights:
            real = wavs * length_mask(samples, wavs.shape[1])
            judged = self.modules.discriminators(real, predictions.audio)
            terms["adversarial"] = judged.adversarial
            terms["feature_matching"] = judged.feature_matching
            losses["discriminator"] = self.settings.discriminator_weight * judged.discriminator
            self.log({"discriminator": judged.discriminator})
        self.log(terms)
        return {**losses, "generator": weighted_sum(terms, weights)}

    @torch.no_grad()
    def target(self, predictions: CodecOutput, wavs: Tensor, samples: Tensor) -> Tensor | None:
        """Give the feature `[B, N, C]` that the semantic terms aim at; None without such terms.

        Parameters
        ----------
        predictions : CodecOutput
            Of the same batch.
        wavs : Tensor
            `[B, T]`.
        samples : Tensor
            Their lengths `[B]`.
        """
        if "semantic" not in self.settings.weights or not isinstance(predictions, WavCubeOutput):
            return None
        if self.teacher is None:
            return predictions.feature.detach()
        return self.teacher(wavs, samples, predictions.mask.sum(1)).feature

    def _terms(
        self, predictions: CodecOutput, wavs: Tensor, samples: Tensor, target: Tensor | None
    ) -> dict[str, Tensor]:
        """Every loss term that needs no discriminator and is on."""
        terms = {"mel": self.mel_loss(predictions.audio, wavs, samples)}
        if not isinstance(predictions, WavCubeOutput) or target is None:
            return terms
        mask = predictions.mask
        compared = {
            "semantic": predictions.feature_hat,
            "linear": predictions.feature_linear,
            "anchoring": predictions.feature,
        }
        for name, feature in compared.items():
            if name in self.settings.weights and feature is not None:
                terms[name] = semantic_loss(feature, target, mask)
        if predictions.posterior is not None:
            terms["kl"] = kl_divergence(*predictions.posterior, mask)
        return terms

    def _score(
        self, predictions: CodecOutput, wavs: Tensor, samples: Tensor, target: Tensor | None
    ) -> Tensor:
        """Score each utterance on its own, so that batches do not matter; their mean distance."""
        distances, closeness = [], {}
        for index, (size, mask) in enumerate(zip(samples.tolist(), predictions.mask, strict=True)):
            pair = predictions.audio[index : index + 1, :size], wavs[index : index + 1, :size]
            distances.append(self.mel_distance(*pair))
            if target is not None and isinstance(predictions, WavCubeOutput):
                features = predictions.feature_hat, predictions.feature, target
                closeness = compare_features(*(feature[index][mask] for feature in features))
            self.score({"mel": float(distances[-1]), **closeness})
            self._show(*pair)
        return torch.stack(distances).mean()

    def _show(self, generated: Tensor, real: Tensor) -> None:
        """Put the first clips of a validation into TensorBoard."""
        clip = len(self._scores["mel"])
        if self.journal is None or clip > LOGGED_CLIPS:
            return
        for kind, wav in (("generated", generated), ("original", real)):
            title = f"{kind}/{clip}"
            self.journal.audio(title, wav[0], self.model.sample_rate, self.optimizer_step)
            log_mel = self.mel_distance.log_mel(wav)[0]
            self.journal.spectrogram(title, log_mel, self.optimizer_step)


def _choose_trained(model: LatentCodec, settings: LatentSettings) -> None:
    """Say which parameters the stage trains; another stage may have said otherwise."""
    model.requires_grad_(not isinstance(settings, DecoderSettings))
    model.decoder.requires_grad_(True)
    model.encoder.set_trainable(settings.train_encoder)
    if isinstance(model.encoder, SSLEncoder):
        for parameter in unused_parameters(model.encoder.model, model.encoder.layer):
            parameter.requires_grad_(False)


def _check(
    settings: LatentSettings,
    model: LatentCodec,
    discriminators: Discriminators | None,
    teacher: SSLEncoder | None,
) -> None:
    where = f"stage {settings.name!r}"
    of_decoder = isinstance(settings, DecoderSettings)
    if not of_decoder and isinstance(model, WavCube) == isinstance(settings, AcousticSettings):
        pair = f"{type(settings).__name__} and a {type(model).__name__}"
        raise ValueError(f"{where}: {pair} do not go together")
    if settings.is_adversarial and discriminators is None:
        raise ValueError(f"{where} has adversarial loss terms but no discriminators")
    if isinstance(model, WavCube) and not of_decoder:
        _check_semantic(settings, model, teacher, where)


def _check_semantic(
    settings: LatentSettings, model: WavCube, teacher: SSLEncoder | None, where: str
) -> None:
    if model.bottleneck.semantic_decoder is None:
        raise ValueError(f"{where}: the model has no semantic decoder, which training needs")
    if teacher is model.encoder:
        raise ValueError(f"{where}: the teacher must be another object than the encoder")
    if teacher is not None and teacher.dim != model.encoder.dim:
        raise ValueError(
            f"{where}: the teacher's features have {teacher.dim} dimensions, the model's "
            f"{model.encoder.dim}: give the encoder that the model was made from (ssl_source)"
        )
    variational = isinstance(model.bottleneck, VariationalBottleneck)
    if variational != ("kl" in settings.weights):
        kind = type(model.bottleneck).__name__
        raise ValueError(f"{where}: the loss term 'kl' and a {kind} do not go together")
    if model.bottleneck.with_linear != ("linear" in settings.weights):
        raise ValueError(
            f"{where}: the loss term 'linear' and a bottleneck with_linear need each other"
        )
