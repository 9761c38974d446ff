"""Recognition: waveforms to CTC log-probabilities."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from wavcube.representations.base import Representation
from wavcube.tasks.model import TaskModel
from wavcube.tasks.recognition.heads import RecognitionHead


class RecognitionModel(TaskModel):
    """A representation and a recognition head.

    Parameters
    ----------
    representation : Representation
        Any.
    head : RecognitionHead
        Of its width.

    Raises
    ------
    ValueError
        If the widths differ.

    Examples
    --------
    >>> import torch
    >>> from wavcube.tasks.recognition.heads import BLSTMHead
    >>> from wavcube.representations import MelRepresentation
    >>> head = BLSTMHead(8, num_tokens=5, projected_dim=4, hidden_dim=4)
    >>> model = RecognitionModel(MelRepresentation(num_mel_bins=4), head)
    >>> log_probs, lens = model(torch.randn(2, 3200), torch.tensor([1.0, 0.5]))
    >>> log_probs.shape, lens
    (torch.Size([2, 10, 5]), tensor([1.0000, 0.5000]))
    """

    task = "recognition"
    usage: ClassVar[tuple[str, str]] = ("WavCubeASR", 'print(model.transcribe_file("speech.wav"))')

    def __init__(self, representation: Representation, head: RecognitionHead) -> None:
        super().__init__(representation, head)
        if head.dim != representation.dim:
            raise ValueError(
                f"the head takes features of width {head.dim}, the representation gives "
                f"{representation.dim}"
            )

    def forward(
        self, wavs: Tensor | None, lens: Tensor | None = None, states: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Recognise.

        Parameters
        ----------
        wavs : Tensor, optional
            `[B, T]` at `sample_rate`; not needed with states.
        lens : Tensor, optional
            Relative lengths `[B]`, of the states if they are given.
        states : Tensor, optional
            `[B, S, N, C]`, cached.

        Returns
        -------
        log_probs : Tensor
            `[B, N, tokens]`, zero in the padding.
        lens : Tensor
            Relative lengths `[B]` of the frames.
        """
        features, lens = self.features(wavs, lens, states)
        return self.head(features, lens), lens
