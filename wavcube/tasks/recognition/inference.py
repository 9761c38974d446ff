"""Recognition for users: `WavCubeASR.from_hparams(source=FOLDER).transcribe_file(FILE)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wavcube.data.tokens import TextTokens
from wavcube.inference.base import check_computed
from wavcube.tasks.inference import TaskInference
from wavcube.tasks.recognition.model import RecognitionModel
from wavcube.tasks.recognition.search import CTCSearch


class WavCubeASR(TaskInference):
    """A recogniser of a release: speech to text.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        `model`, a RecognitionModel.
    hparams : mapping
        With `files`: the path of the release's tokenizer by its name.
    run_opts : mapping, optional
        See :class:`~wavcube.inference.base.ReleasedModel`.
    freeze_params : bool
        Switch gradients off.

    Raises
    ------
    ValueError
        If the device does not exist, or the tokenizer is of another vocabulary.

    Examples
    --------
    >>> from wavcube.data.tokens import train_tokens
    >>> from wavcube.tasks.recognition.heads import BLSTMHead
    >>> from wavcube.representations import MelRepresentation
    >>> tokens = train_tokens(["ONE TWO"], getfixture("tmp_path"))
    >>> head = BLSTMHead(160, len(tokens), projected_dim=4, hidden_dim=4)
    >>> model = RecognitionModel(MelRepresentation(), head)
    >>> files = {"files": {tokens.path.name: tokens.path}}
    >>> asr = WavCubeASR({"model": model}, files, run_opts={"device": "cpu"})
    >>> len(asr.transcribe_batch(torch.zeros(2, 1600)))
    2
    """

    MODEL = RecognitionModel
    PACKAGED: ClassVar[str] = "asr_tiny"

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        freeze_params: bool = True,
    ) -> None:
        super().__init__(modules, hparams, run_opts, freeze_params)
        self.tokens = _find_tokens(dict(hparams or {}).get("files") or {})
        if len(self.tokens) != self.mods.model.head.num_tokens:
            raise ValueError(
                f"{self.tokens.path} has {len(self.tokens)} tokens, the model "
                f"{self.mods.model.head.num_tokens}: the release is broken"
            )
        self.search = CTCSearch(self.tokens)

    def set_search(
        self,
        beam_size: int = 1,
        language_model: str | Path | None = None,
        lm_weight: float = 2.0,
        word_score: float = -1.0,
    ) -> None:
        """Choose how text is searched for, from now on.

        Parameters
        ----------
        beam_size, language_model, lm_weight, word_score
            See :class:`~wavcube.tasks.recognition.search.CTCSearch`.

        Raises
        ------
        ValueError, FileNotFoundError, ImportError
            See there.
        """
        self.search = CTCSearch(self.tokens, beam_size, language_model, lm_weight, word_score)

    def transcribe_batch(
        self,
        wavs: Tensor,
        wav_lens: Tensor | None = None,
        sample_rate: int | None = None,
    ) -> list[str]:
        """Transcribe waveforms.

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
        list of str
            Text of each; empty where nothing was heard.

        Raises
        ------
        ValueError
            If the shape, type, lengths or rate are wrong, or a sample is not finite.
        """
        wavs, wav_lens = self.checked(wavs, wav_lens, sample_rate)
        with torch.no_grad(), self.inference_ctx:
            log_probs, lens = self.mods.model(wavs, wav_lens)
        check_computed(log_probs, "transcribing these waveforms", wavs)
        return self.search(log_probs, lens)

    def transcribe_file(self, path: str | Path) -> str:
        """Transcribe an audio file; other rates are resampled, channels averaged.

        Parameters
        ----------
        path : str or Path
            Anything that soundfile reads.

        Returns
        -------
        str
            The text; empty if nothing was heard.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no audio, is empty or holds samples that are not finite.
        """
        return self.transcribe_batch(self.load_audio(path)[None])[0]

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> list[str]:
        """Transcribe `[B, T]`."""
        return self.transcribe_batch(wavs, wav_lens)


def _find_tokens(files: Mapping[str, str | Path]) -> TextTokens:
    models = [Path(path) for name, path in files.items() if name.endswith(".model")]
    if len(models) != 1:
        raise ValueError(f"a recogniser's release has one tokenizer, this one {len(models)}")
    return TextTokens(models[0].parent)
