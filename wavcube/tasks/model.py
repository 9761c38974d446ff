"""A task's whole network: a representation of speech and the head that works on it."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.representations.base import Representation


class TaskModel(Configurable):
    """Representation and head; what a task trains, evaluates and releases.

    A subclass gives ``forward``, the one path from waveforms to the task's result, which training
    and inference share. What an item gets there does not depend on its batch.

    Parameters
    ----------
    representation : Representation
        Any.
    head : nn.Module
        With a ``config()``, and of the representation's width.
    """

    # the class that loads a release of this model, and a line that uses it, for the model's card
    usage: ClassVar[tuple[str, str]] = ("Released", 'model.predict_file("speech.wav")')

    def __init__(self, representation: Representation, head: nn.Module) -> None:
        super().__init__()
        self.representation, self.head = representation, head

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self.representation.sample_rate

    def facts(self) -> dict[str, str]:
        """Return what the card says of the model beside its sizes."""
        parts = {"representation": self.representation, "head": self.head}
        return {name: type(part).__name__ for name, part in parts.items()}

    def features(
        self, wavs: Tensor | None, lens: Tensor | None = None, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Represent a batch, from its waveforms or from what a cache keeps of them.

        Parameters
        ----------
        wavs : Tensor, optional
            `[B, T]` at `sample_rate`; not needed with states.
        lens : Tensor, optional
            Relative lengths `[B]`, of the states if they are given.
        states : Tensor, optional
            `[B, S, N, C]` of a :class:`~wavcube.representations.cache.StateCache`.

        Returns
        -------
        features : Tensor
            `[B, N, C]`, zero in the padding.
        lens : Tensor
            Relative lengths `[B]` of the frames.
        """
        if states is None:
            return self.representation(wavs, lens)
        return self.representation.combine(states), lens
