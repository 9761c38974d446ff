"""Enhancement for users: `WavCubeEnhancer.from_hparams(source=FOLDER).enhance_file(FILE, OUT)`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from wavcube.data.audio import write_audio
from wavcube.inference.base import check_computed
from wavcube.inference.files import check_output
from wavcube.tasks.enhancement.model import Enhancer
from wavcube.tasks.inference import TaskInference
from wavcube.utils.suffixes import WRITTEN_SUFFIXES


class WavCubeEnhancer(TaskInference):
    """An enhancer of a release: noisy speech to clean speech.

    Silence stays silence with a mask; the level of the speech is kept about as it was.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        `model`, an Enhancer.
    hparams, run_opts, freeze_params
        See :class:`~wavcube.inference.base.ReleasedModel`.

    Examples
    --------
    >>> from wavcube.tasks.enhancement.model import MaskEnhancer
    >>> from wavcube.lobes.layers.mask_head import MaskHead
    >>> from wavcube.representations import MelRepresentation
    >>> model = MaskEnhancer(MelRepresentation(), MaskHead(160, 320, hidden_dim=4, num_layers=1))
    >>> enhancer = WavCubeEnhancer({"model": model}, run_opts={"device": "cpu"})
    >>> enhancer.enhance_batch(torch.randn(2, 1000), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 1000])
    """

    MODEL = Enhancer
    PACKAGED: ClassVar[str] = "enhancement_tiny"

    def enhance_batch(
        self,
        wavs: Tensor,
        wav_lens: Tensor | None = None,
        sample_rate: int | None = None,
    ) -> Tensor:
        """Enhance waveforms.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`, or `[T]` for one, floating point in about -1 to 1. What lies beyond an item's
            length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        sample_rate : int, optional
            Of ``wavs``, in Hz; another rate than the model's is resampled. By default the model's.

        Returns
        -------
        Tensor
            `[B, T]` at the model's rate, on its device, zero beyond an item's end.

        Raises
        ------
        ValueError
            If the shape, type, lengths or rate are wrong, or a sample is not finite.
        """
        wavs, wav_lens = self.checked(wavs, wav_lens, sample_rate)
        with torch.no_grad(), self.inference_ctx:
            enhanced = self.mods.model(wavs, wav_lens)
        check_computed(enhanced, "enhancing these waveforms", wavs)
        return enhanced

    def enhance_file(
        self, path: str | Path, out: str | Path | None = None, *, overwrite: bool = False
    ) -> Tensor:
        """Enhance an audio file; other rates are resampled, channels averaged.

        Parameters
        ----------
        path : str or Path
            Anything that soundfile reads.
        out : str or Path, optional
            A wav or flac file to write, at the model's rate.
        overwrite : bool
            Replace ``out``.

        Returns
        -------
        Tensor
            `[1, T]`, as many samples as the file has at the model's rate.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or ``out`` exists.
        ValueError
            If it is no audio, is empty or holds samples that are not finite, or ``out`` ends in
            something else.
        """
        check_output(out, WRITTEN_SUFFIXES, overwrite)
        enhanced = self.enhance_batch(self.load_audio(path)[None])
        if out is not None:
            write_audio(out, enhanced[0].cpu(), self.sample_rate)
        return enhanced

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> Tensor:
        """Enhance `[B, T]`."""
        return self.enhance_batch(wavs, wav_lens)
