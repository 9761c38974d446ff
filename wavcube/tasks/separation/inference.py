"""Separation for users: `WavCubeSeparator.from_hparams(source=FOLDER).separate_file(FILE, OUT)`."""

from __future__ import annotations

from torch import Tensor

from wavcube.tasks.inference import Released
from wavcube.tasks.separation import VERB
from wavcube.tasks.separation.model import Separator
from wavcube.tasks.verbs import Audio


class WavCubeSeparator(Released):
    """A separator of a release: a mixture of speakers to each of them alone, `[B, T, S]`.

    The order of the speakers has no meaning. With masks the level of each is that in the mixture.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.layers.spectrogram import MaskHead
    >>> from wavcube.tasks.separation.model import MaskSeparator
    >>> from wavcube.representations import MelRepresentation
    >>> head = MaskHead(160, 320, num_sources=2, hidden_dim=4, num_layers=1)
    >>> model = MaskSeparator(MelRepresentation(), head)
    >>> separator = WavCubeSeparator({"model": model}, run_opts={"device": "cpu"})
    >>> separator.separate_batch(torch.randn(3, 1000), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 1000, 2])
    """

    MODEL = Separator
    PACKAGED = VERB.packaged
    verb = VERB

    @property
    def num_sources(self) -> int:
        """Speakers that a mixture is taken apart into."""
        return self.mods.model.num_sources

    @property
    def output(self) -> Audio:
        """Return what it gives: as many waveforms as the model has speakers."""
        return Audio(self.num_sources)

    def results(self, made: Tensor) -> Tensor:
        """Return `[B, T, S]` of `[B, S, T]`, as SpeechBrain's separators do."""
        return made.transpose(1, 2)

    def separate_batch(
        self, mix: Tensor, mix_lens: Tensor | None = None, sample_rate: int | None = None
    ) -> Tensor:
        """Separate mixtures `[B, T]`; see :meth:`~wavcube.tasks.inference.Released.predict_batch`.

        Parameters
        ----------
        mix : Tensor
            `[B, T]`, or `[T]` for one.
        mix_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1].
        sample_rate : int, optional
            Of ``mix``, in Hz.
        """
        return self.predict_batch(mix, mix_lens, sample_rate)

    separate_file = Released.predict_file
