"""Separation for users: `WavCubeSeparator.from_hparams(source=FOLDER).separate_file(FILE, OUT)`."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from wavcube.data.audio import write_audio
from wavcube.inference.base import check_computed
from wavcube.inference.files import check_output
from wavcube.tasks.inference import TaskInference
from wavcube.tasks.separation.model import Separator
from wavcube.utils.suffixes import WRITTEN_SUFFIXES


class WavCubeSeparator(TaskInference):
    """A separator of a release: a mixture of speakers to each of them alone.

    The order of the speakers has no meaning. With masks the level of each is that in the mixture.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        `model`, a Separator.
    hparams, run_opts, freeze_params
        See :class:`~wavcube.inference.base.ReleasedModel`.

    Examples
    --------
    >>> from wavcube.lobes.layers.mask_head import MaskHead
    >>> from wavcube.tasks.separation.model import MaskSeparator
    >>> from wavcube.representations import MelRepresentation
    >>> head = MaskHead(160, 320, num_sources=2, hidden_dim=4, num_layers=1)
    >>> model = MaskSeparator(MelRepresentation(), head)
    >>> separator = WavCubeSeparator({"model": model}, run_opts={"device": "cpu"})
    >>> separator.separate_batch(torch.randn(3, 1000), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 1000, 2])
    """

    MODEL = Separator
    PACKAGED: ClassVar[str] = "separation_tiny"

    @property
    def num_sources(self) -> int:
        """Speakers that a mixture is taken apart into."""
        return self.mods.model.num_sources

    def separate_batch(
        self,
        mix: Tensor,
        mix_lens: Tensor | None = None,
        sample_rate: int | None = None,
    ) -> Tensor:
        """Separate mixtures.

        Parameters
        ----------
        mix : Tensor
            `[B, T]`, or `[T]` for one, floating point in about -1 to 1. What lies beyond an item's
            length is ignored.
        mix_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        sample_rate : int, optional
            Of ``mix``, in Hz; another rate than the model's is resampled. By default the model's.

        Returns
        -------
        Tensor
            `[B, T, S]`, as SpeechBrain's separators give it, at the model's rate, on its device,
            zero beyond an item's end.

        Raises
        ------
        ValueError
            If the shape, type, lengths or rate are wrong, or a sample is not finite.
        """
        mix, mix_lens = self.checked(mix, mix_lens, sample_rate)
        with torch.no_grad(), self.inference_ctx:
            separated = self.mods.model(mix, mix_lens)
        check_computed(separated, "separating these mixtures", mix)
        return separated.transpose(1, 2)

    def separate_file(
        self, path: str | Path, out: str | Path | None = None, *, overwrite: bool = False
    ) -> Tensor:
        """Separate an audio file; other rates are resampled, channels averaged.

        Parameters
        ----------
        path : str or Path
            Anything that soundfile reads.
        out : str or Path, optional
            Name of the wav or flac files to write, at the model's rate: "name.wav" gives
            "name_1.wav", "name_2.wav" and so on.
        overwrite : bool
            Replace them.

        Returns
        -------
        Tensor
            `[1, T, S]`, as many samples as the file has at the model's rate.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or an output exists.
        ValueError
            If it is no audio, is empty or holds samples that are not finite, ``out`` ends in
            something else, or an output would replace the input.
        """
        targets = [] if out is None else source_files(out, self.num_sources)
        for target in targets:
            check_output(target, WRITTEN_SUFFIXES, overwrite)
            if target.resolve() == Path(path).resolve():
                raise ValueError(f"{target} is the input: name another output")
        separated = self.separate_batch(self.load_audio(path)[None])
        for target, wav in zip(targets, separated[0].T.cpu(), strict=False):
            write_audio(target, wav, self.sample_rate)
        return separated

    def forward(self, mix: Tensor, mix_lens: Tensor | None = None) -> Tensor:
        """Separate `[B, T]`."""
        return self.separate_batch(mix, mix_lens)


def source_files(out: str | Path, count: int) -> list[Path]:
    """Name a file for each source.

    Parameters
    ----------
    out : str or Path
        The common name.
    count : int
        Sources.

    Examples
    --------
    >>> [path.name for path in source_files("a.wav", 2)]
    ['a_1.wav', 'a_2.wav']
    """
    out = Path(out)
    return [out.with_name(f"{out.stem}_{place}{out.suffix}") for place in range(1, count + 1)]
