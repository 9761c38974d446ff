"""The interface between a pretrained model and a head, with freezing, mixing and lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.lengths import ceil_division, length_mask, to_absolute
from wavcube.lobes.ssl.encoder import LayerMix, SSLEncoder, unused_parameters
from wavcube.release.config_file import model_hash


class Representation(Configurable):
    """Waveforms to frames: states of a model, weighed where there are several.

    The model is frozen, or fine-tuned from a given update on with a learning rate of its own. It
    stays in eval mode in either case: it is a function, without dropout. While it is frozen it
    runs in float32 also under autocast, so that cached states are the computed ones; unless its
    matrices were put into half precision, for inference. The weights of several states are trained
    with the head, from their plain mean on (SUPERB, arXiv 2105.01051).

    A subclass gives :meth:`description` and :meth:`compute`, and those of `sample_rate`, `hop` and
    `dim` that its model lacks.

    Parameters
    ----------
    model : nn.Module
        Pretrained or fixed.
    num_states : int
        States that it gives for every frame.
    unfreeze_at : int, optional
        Number of the update, from 0, at which fine-tuning begins; by default never.
    lr : float, optional
        Learning rate of fine-tuning; needed with ``unfreeze_at``, and only then.

    Raises
    ------
    ValueError
        If one of ``unfreeze_at`` and ``lr`` is given without the other or is out of range.
    """

    training_arguments = frozenset({"unfreeze_at", "lr"})

    model: Any  # of any kind
    mix: LayerMix | None

    def __init__(
        self,
        model: nn.Module,
        num_states: int = 1,
        unfreeze_at: int | None = None,
        lr: float | None = None,
    ) -> None:
        super().__init__()
        if (unfreeze_at is None) != (lr is None):
            raise ValueError(
                f"unfreeze_at {unfreeze_at} with lr {lr}: give both to fine-tune, none to freeze"
            )
        if unfreeze_at is not None and lr is not None and (unfreeze_at < 0 or lr <= 0):
            raise ValueError(
                f"unfreeze_at {unfreeze_at} must be at least 0, and lr {lr} greater than 0"
            )
        self.model = model.requires_grad_(False)
        self.mix = LayerMix(num_states) if num_states > 1 else None
        self.num_states, self.unfreeze_at, self.lr = num_states, unfreeze_at, lr
        self._fine_tunes = False
        self.set_update(0)
        self.train(self.training)

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self.model.sample_rate

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.model.hop

    @property
    def dim(self) -> int:
        """Width C of the features."""
        return self.model.dim

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop

    @property
    def is_frozen(self) -> bool:
        """Whether the model never changes, so that its states may be cached."""
        return self.unfreeze_at is None

    @property
    def model_hash(self) -> str:
        """SHA-256 of the model's configuration and weights, those of the mix left out."""
        return model_hash(self.description(), self.model.state_dict())

    def description(self) -> Mapping[str, Any]:
        """Return the model's kind and sizes as plain data."""
        raise NotImplementedError

    def compute(self, wavs: Tensor, samples: Tensor, frames: Tensor) -> Tensor:
        """Run the model on a batch whose lengths are counted.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`; what lies beyond an item's length must not matter.
        samples, frames : Tensor
            Counts `[B]`.

        Returns
        -------
        Tensor
            `[B, S, N, C]` with the frames N of the longest item.
        """
        raise NotImplementedError

    def num_frames(self, samples: int) -> int:
        """Frames of a waveform of so many samples."""
        return int(ceil_division(torch.tensor(samples), self.hop))

    def states(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute what :meth:`combine` weighs; for a frozen model it can be cached.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.

        Returns
        -------
        states : Tensor
            `[B, S, N, C]`, zero in the padding.
        lens : Tensor
            Relative lengths `[B]` of the frames.

        Raises
        ------
        ValueError
            If the batch is not `[B, T]` or empty, or a length leaves (0, 1].
        """
        if wavs.dim() != 2 or not wavs.numel():
            raise ValueError(f"waveforms must be [batch, time] and hold samples, got {wavs.shape}")
        samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device)
        frames = torch.tensor([self.num_frames(n) for n in samples.tolist()], device=wavs.device)
        if self._fine_tunes:
            states = self.compute(wavs, samples, frames)
        else:
            halved = any(weight.dtype != torch.float32 for weight in self.model.parameters())
            exact = nullcontext() if halved else torch.autocast(wavs.device.type, enabled=False)
            with torch.no_grad(), exact:
                states = self.compute(wavs.float(), samples, frames).float()
        valid = length_mask(frames, states.shape[2])
        return states.masked_fill(~valid[:, None, :, None], 0.0), frames / states.shape[2]

    def combine(self, states: Tensor) -> Tensor:
        """Weigh states.

        Parameters
        ----------
        states : Tensor
            `[B, S, N, C]`.

        Returns
        -------
        Tensor
            `[B, N, C]`.

        Raises
        ------
        ValueError
            If their number is another than `num_states`.
        """
        if states.shape[1] != self.num_states:
            raise ValueError(f"{states.shape[1]} states, but this one has {self.num_states}")
        return states[:, 0] if self.mix is None else self.mix(list(states.unbind(1)))

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Represent a batch.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.

        Returns
        -------
        features : Tensor
            `[B, N, C]`, zero in the padding.
        lens : Tensor
            Relative lengths `[B]` of the frames.

        Raises
        ------
        ValueError
            See :meth:`states`.
        """
        states, lens = self.states(wavs, wav_lens)
        return self.combine(states), lens

    def train(self, mode: bool = True) -> Representation:
        """Set the mode of the mix; the model stays in eval mode."""
        super().train(mode)
        self.model.eval()
        return self

    def set_update(self, update: int) -> None:
        """Freeze or unfreeze the model as a given update, counted from 0, asks for.

        Parameters
        ----------
        update : int
            The next one. A function of this number alone, so that a resumed run needs no more.
        """
        self._fine_tunes = self.unfreeze_at is not None and update >= self.unfreeze_at
        for parameter in self.fine_tuned():
            parameter.requires_grad_(self._fine_tunes)

    def fine_tuned(self) -> list[nn.Parameter]:
        """List the parameters of the model that fine-tuning changes; none if it never does."""
        return [] if self.is_frozen else list(self.model.parameters())

    def tuned(self, unfreeze_at: int, lr: float) -> Representation:
        """Give the same representation to be fine-tuned.

        Parameters
        ----------
        unfreeze_at : int
            Number of the update, from 0, at which fine-tuning begins.
        lr : float
            Learning rate of fine-tuning.

        Returns
        -------
        Representation
            Of the same model.

        Raises
        ------
        ValueError
            If this kind cannot be fine-tuned.
        """
        raise ValueError(
            f"a {type(self).__name__} is not fine-tuned: leave unfreeze_at {unfreeze_at} and lr "
            f"{lr} out"
        )

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Split the parameters by their learning rates, for an optimizer.

        Parameters
        ----------
        lr : float
            Of the head, hence of the mix.

        Returns
        -------
        list of dict
            Those that are ever trained; a model that is still frozen has no gradients, and an
            optimizer passes over it.
        """
        mixing = [] if self.mix is None else list(self.mix.parameters())
        groups = ({"params": mixing, "lr": lr}, {"params": self.fine_tuned(), "lr": self.lr})
        return [group for group in groups if group["params"]]


def never_tuned(encoder: SSLEncoder) -> set[int]:
    """List the parameters of an encoder that fine-tuning leaves as they are, by identity."""
    fixed = encoder.model.feature_extractor.parameters()
    return {id(p) for p in (*fixed, *unused_parameters(encoder.model, encoder.layer))}


def packaged_folder(name: str, known: Mapping[str, Callable[[], Path]]) -> Path:
    """Return the folder of a model of the package: a release's text must not choose any other."""
    if name not in known:
        raise ValueError(f"the package has no model {name!r}; there is {sorted(known)}")
    return known[name]()


def mark_as_packaged(representation: Representation, wanted: str | None) -> None:
    """Keep a packaged model's weights out of states that are saved, and record its hash.

    The hash must be that of the model that a head was trained on, where that is known.
    """
    found = representation.model_hash
    if wanted is not None and found != wanted:
        raise ValueError(
            f"made for model {wanted[:12]}, and the package's {representation.name} is "
            f"{found[:12]}: install the version of wavcube that it was made with, or train it again"
        )
    representation.register_state_dict_post_hook(_drop_model)
    representation.register_load_state_dict_pre_hook(_supply_model)
    representation.record(model_hash=found)


def _drop_model(
    module: Representation, state: dict[str, Tensor], prefix: str, metadata: object
) -> None:
    del module, metadata
    for key in [key for key in state if key.startswith(f"{prefix}model.")]:
        del state[key]


def _supply_model(
    module: Representation, state: dict[str, Tensor], prefix: str, *others: object
) -> None:
    del others
    own = module.model.state_dict()
    state.update({f"{prefix}model.{key}": value for key, value in own.items()})
