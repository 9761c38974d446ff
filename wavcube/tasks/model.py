"""A task's whole network: a representation of speech and the head that works on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

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

    # name of the task, which its release tells
    task: str = ""
    # the class that loads a release of this model, and a line that uses it, for the model's card
    usage: ClassVar[tuple[str, str]] = ("Released", 'model.predict_file("speech.wav")')

    representation: Representation
    head: Any  # of any kind

    def __init__(self, representation: Representation, head: nn.Module) -> None:
        super().__init__()
        self.representation, self.head = representation, head

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self.representation.sample_rate

    def metadata(self) -> dict[str, str]:
        """Return what the card says of the model beside its sizes."""
        parts = {"representation": self.representation, "head": self.head}
        return {name: type(part).__name__ for name, part in parts.items()}

    def results(self, made: Any) -> Any:  # noqa: ANN401 - of the task's kind
        """Make what users get out of what ``forward`` gives; by default nothing is changed.

        Parameters
        ----------
        made : Tensor or tuple
            Of ``forward``.
        """
        return made

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
        if lens is None:
            raise ValueError("states of a cache need their lengths")
        return self.representation.combine(states), lens


class ClassificationModel(TaskModel):
    """A representation, and a head that gives a logit for each label.

    Parameters
    ----------
    representation : Representation
        Any.
    head : nn.Module
        With ``num_labels``; it takes features `[B, N, C]` and relative lengths `[B]`.
    labels : sequence of str
        Names, in the order of the logits.

    Raises
    ------
    ValueError
        If there are more or fewer names than the head has labels.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.layers.mean_pool import MeanPoolHead
    >>> from wavcube.representations import MelRepresentation
    >>> mel = MelRepresentation(num_mel_bins=4)
    >>> model = ClassificationModel(mel, MeanPoolHead(8, 2), ["no", "yes"])
    >>> model.results(model(torch.randn(1, 3200)))[0][0] in ("no", "yes")
    True
    """

    def __init__(
        self, representation: Representation, head: nn.Module, labels: Sequence[str]
    ) -> None:
        super().__init__(representation, head)
        if head.num_labels != len(labels):
            raise ValueError(f"the head has {head.num_labels} labels, and there are {len(labels)}")
        self.labels = list(labels)

    def forward(
        self, wavs: Tensor | None, lens: Tensor | None = None, states: Tensor | None = None
    ) -> Tensor:
        """Classify utterances.

        Parameters
        ----------
        wavs, lens, states
            See :meth:`TaskModel.features`.

        Returns
        -------
        Tensor
            Logits `[B, K]`.
        """
        return self.head(*self.features(wavs, lens, states))

    def results(self, made: Tensor) -> list[tuple[str, float]]:
        """Return the name and the probability of the likeliest label of each item.

        Parameters
        ----------
        made : Tensor
            Logits `[B, K]`.
        """
        best, places = made.float().softmax(-1).max(-1)
        found = zip(places.tolist(), best.tolist(), strict=True)
        return [(self.labels[place], probability) for place, probability in found]
