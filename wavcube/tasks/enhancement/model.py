"""Enhancers: noisy speech to clean speech of the same length, the only source in it."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from wavcube.representations.base import Representation
from wavcube.tasks.signal import LatentModel, MaskModel, SignalModel


class Enhancer(SignalModel):
    """What all enhancers share: one source, and waveforms without its axis.

    Parameters
    ----------
    representation : Representation
        Of the noisy speech.
    head : nn.Module
        With ``num_sources``.

    Raises
    ------
    ValueError
        If the head has several sources.
    """

    task = "enhancement"
    usage: ClassVar[tuple[str, str]] = (
        "WavCubeEnhancer",
        'model.enhance_file("noisy.wav", "clean.wav")',
    )

    def __init__(self, representation: Representation, head: nn.Module) -> None:
        super().__init__(representation, head)
        if head.num_sources != 1:
            raise ValueError(f"clean speech is one source, the head gives {head.num_sources}")

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None, rendered: bool = True
    ) -> Tensor:
        """Enhance.

        Parameters
        ----------
        wavs : Tensor
            Noisy speech `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        rendered : bool
            Give waveforms; otherwise what :meth:`estimate` gives, for a loss.

        Returns
        -------
        Tensor
            `[B, T]`, exactly as long as the noisy speech; zero after an item's own samples.
        """
        made = super().forward(wavs, wav_lens, rendered)
        return made[:, 0] if rendered else made


class MaskEnhancer(MaskModel, Enhancer):
    """A mask on the noisy spectrogram, whose phase is kept.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.layers.spectrogram import MaskHead
    >>> from wavcube.representations import MelRepresentation
    >>> head = MaskHead(8, stride=320, hidden_dim=4, num_layers=1)
    >>> model = MaskEnhancer(MelRepresentation(num_mel_bins=4), head)
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 1601])
    """


class LatentEnhancer(LatentModel, Enhancer):
    """The noisy latent to the clean one, which WavCube's decoder synthesises.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.layers.latent_map import LatentHead
    >>> from wavcube.representations import LatentRepresentation
    >>> from wavcube.testing import tiny_wavcube
    >>> head = LatentHead(8, hidden_dim=4, num_layers=1)
    >>> model = LatentEnhancer(LatentRepresentation(tiny_wavcube()), head).eval()
    >>> model(torch.randn(3, 1601), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 1601])
    """
