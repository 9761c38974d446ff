"""What tells the stages of the latent's training apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from wavcube.training.settings import TrainingSettings

ADVERSARIAL = frozenset({"adversarial", "feature_matching"})
SEMANTIC = frozenset({"semantic", "linear", "anchoring", "kl"})


@dataclass(frozen=True, kw_only=True)
class LatentSettings(TrainingSettings):
    """One stage: what trains, which loss terms are on, how far the decoder's gradient reaches.

    Parameters
    ----------
    updates, name, warmup, lr_schedule, ema_decay, best_metric, best_is_highest, max_rollbacks, \
    log_every, shard_optimizer
        As :class:`~wavcube.training.settings.TrainingSettings` has them.
    weights : Mapping of str to float
        Weight of each loss term that is on: "mel" and "semantic" always; "linear", the semantic
        loss of the bottleneck's linear map, for one that has it; "anchoring" of the encoder to its
        teacher; "adversarial" and "feature_matching" together; "kl" for a variational bottleneck.
    lr : float
        Peak learning rate of all but encoder and discriminators.
    encoder_lr : float
        Peak learning rate of the SSL encoder.
    discriminator_lr : float
        Peak learning rate of the discriminators.
    train_encoder : {"none", "transformer", "all"}
        What of the SSL encoder trains; "transformer" leaves its front end as it is.
    detach_latent : bool
        Whether the decoder's gradient ends at the latent.
    discriminator_weight : float
        Weight of the discriminators' own loss.
    adversarial_start : int
        Updates before the discriminators are first used; until then they cost nothing.
    batch_size : int, optional
        Crops of an update, in each process; by default as many as the recipe says of all stages.
    activation_checkpointing : bool
        Compute the layers' activations again for their gradients: less memory, a third more time.

    Raises
    ------
    ValueError
        If terms are unknown, missing, or do not go together.

    Examples
    --------
    >>> LatentSettings(updates=10, weights={"mel": 45, "semantic": 1}, lr=1e-3).is_adversarial
    False
    >>> LatentSettings(updates=10, weights={"mel": 45}, lr=1e-3)
    Traceback (most recent call last):
    ...
    ValueError: stage 'training': the loss terms ['semantic'] need a weight
    """

    terms: ClassVar[frozenset[str]] = frozenset({"mel"}) | SEMANTIC | ADVERSARIAL
    required: ClassVar[frozenset[str]] = frozenset({"mel", "semantic"})

    weights: Mapping[str, float]
    lr: float
    encoder_lr: float = 0.0
    discriminator_lr: float = 0.0
    train_encoder: Literal["none", "transformer", "all"] = "none"
    detach_latent: bool = False
    discriminator_weight: float = 1.0
    adversarial_start: int = 0
    batch_size: int | None = None
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        names, where = set(self.weights), f"stage {self.name!r}"
        if unknown := sorted(names - self.terms):
            raise ValueError(f"{where}: no loss terms {unknown}; there are {sorted(self.terms)}")
        missing = self.required - names
        if names & ADVERSARIAL:
            missing |= ADVERSARIAL - names
        if missing:
            raise ValueError(f"{where}: the loss terms {sorted(missing)} need a weight")
        if "anchoring" in names and self.train_encoder == "none":
            raise ValueError(f"{where}: anchoring needs an encoder that trains (train_encoder)")
        if self.is_adversarial and not 0 <= self.adversarial_start < self.updates:
            raise ValueError(
                f"{where}: adversarial_start {self.adversarial_start} is not below the "
                f"{self.updates} updates; leave out its loss terms instead"
            )

    @property
    def is_adversarial(self) -> bool:
        """Whether discriminators take part."""
        return bool(ADVERSARIAL & self.weights.keys())

    def shortened(self, updates: int) -> LatentSettings:
        """Give the same training over fewer updates; the discriminators are in the last of them.

        Parameters
        ----------
        updates : int
            How many at most.

        Examples
        --------
        >>> weights = {"mel": 1, "semantic": 1, "adversarial": 1, "feature_matching": 1}
        >>> long = LatentSettings(updates=9, weights=weights, lr=1e-3, adversarial_start=5)
        >>> long.shortened(2).adversarial_start
        1
        """
        updates = min(updates, self.updates)
        return replace(
            self,
            updates=updates,
            warmup=min(updates, self.warmup),
            adversarial_start=min(self.adversarial_start, updates - 1),
        )

    def weights_at(self, update: int) -> dict[str, float]:
        """Give the weights of the terms that are on.

        Parameters
        ----------
        update : int
            Updates done.

        Returns
        -------
        dict of str to float
            By term.
        """
        off = ADVERSARIAL if update < self.adversarial_start else frozenset()
        return {name: weight for name, weight in self.weights.items() if name not in off}


@dataclass(frozen=True, kw_only=True)
class AcousticSettings(LatentSettings):
    """The stage of a codec without semantic part: reconstruction shapes all of it.

    Parameters
    ----------
    updates, name, warmup, lr_schedule, ema_decay, best_metric, best_is_highest, max_rollbacks, \
    log_every, shard_optimizer
        As :class:`~wavcube.training.settings.TrainingSettings` has them.
    weights, lr
        See :class:`LatentSettings`; of the loss terms only "mel" and the adversarial ones exist.
    encoder_lr : float
        Peak learning rate of the encoder.
    discriminator_lr
        See :class:`LatentSettings`.
    train_encoder : {"all"}
        Nothing else teaches the encoder.
    detach_latent : bool
        False, for the same reason.
    discriminator_weight, adversarial_start, batch_size, activation_checkpointing
        See :class:`LatentSettings`.

    Raises
    ------
    ValueError
        If terms are unknown, missing, or do not go together, or the encoder would not train.

    Examples
    --------
    >>> AcousticSettings(updates=10, weights={"mel": 45}, lr=1e-3, encoder_lr=1e-3).train_encoder
    'all'
    """

    terms: ClassVar[frozenset[str]] = frozenset({"mel"}) | ADVERSARIAL
    required: ClassVar[frozenset[str]] = frozenset({"mel"})

    train_encoder: Literal["all"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_encoder != "all" or self.detach_latent or self.encoder_lr <= 0:
            raise ValueError(
                f"stage {self.name!r}: an acoustic codec's encoder learns from reconstruction "
                f"alone: train_encoder must be 'all' (it is {self.train_encoder!r}), detach_latent "
                f"False (it is {self.detach_latent}) and encoder_lr above 0 ({self.encoder_lr})"
            )


@dataclass(frozen=True, kw_only=True)
class DecoderSettings(LatentSettings):
    """A stage of the decoder alone: the latent stays as it is, bit for bit.

    What was trained on the latents, and what was stored of them, stays valid. This is where small
    models meet discriminators: an update costs a fraction of one of the whole.

    Parameters
    ----------
    updates, name, warmup, lr_schedule, ema_decay, best_metric, best_is_highest, max_rollbacks, \
    log_every, shard_optimizer
        As :class:`~wavcube.training.settings.TrainingSettings` has them.
    weights
        See :class:`LatentSettings`; of the loss terms only "mel" and the adversarial ones.
    lr : float
        Peak learning rate of the decoder.
    encoder_lr : float
        Without effect.
    discriminator_lr
        See :class:`LatentSettings`.
    train_encoder : {"none"}
        Nothing but the decoder trains.
    detach_latent : bool
        True, for the same reason.
    discriminator_weight, adversarial_start, batch_size, activation_checkpointing
        See :class:`LatentSettings`.

    Raises
    ------
    ValueError
        If terms are unknown, missing, or do not go together, or more than the decoder would train.

    Examples
    --------
    >>> DecoderSettings(updates=10, weights={"mel": 45}, lr=1e-3).detach_latent
    True
    """

    terms: ClassVar[frozenset[str]] = frozenset({"mel"}) | ADVERSARIAL
    required: ClassVar[frozenset[str]] = frozenset({"mel"})

    detach_latent: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_encoder != "none" or not self.detach_latent:
            raise ValueError(
                f"stage {self.name!r} trains the decoder alone: train_encoder must be 'none' (it "
                f"is {self.train_encoder!r}) and detach_latent True (it is {self.detach_latent})"
            )
