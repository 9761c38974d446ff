"""Recognition for users: `WavCubeASR.from_hparams(source=FOLDER).transcribe_file(FILE)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wavcube.data.audio import LongAudio, windows_of
from wavcube.data.tokens import TextTokens
from wavcube.inference.base import check_computed
from wavcube.inference.long_form import CHUNK, CONTEXT, plan_windows, sample_bounds
from wavcube.tasks.inference import Released
from wavcube.tasks.model import TaskModel
from wavcube.tasks.recognition import VERB
from wavcube.tasks.recognition.model import RecognitionModel
from wavcube.tasks.recognition.search import CTCSearch


class WavCubeASR(Released):
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
    >>> import torch
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

    MODEL: ClassVar[type[TaskModel]] = RecognitionModel
    PACKAGED = VERB.packaged
    verb = VERB

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
            If an option is out of range, the model is not there, or a package for it is missing.
        """
        self.search = CTCSearch(self.tokens, beam_size, language_model, lm_weight, word_score)

    def configure(self, **options: Any) -> None:  # noqa: ANN401 - as the base's
        """Choose how text is searched for; see :meth:`set_search`."""
        self.set_search(**options)

    def results(self, made: tuple[Tensor, Tensor]) -> list[str]:
        """Read the texts off log-probabilities and lengths; empty where nothing was heard."""
        return self.search(*made)

    def _predict_long(self, audio: LongAudio) -> str:
        """Search for the text in the probabilities of all windows: no word is cut at a seam."""
        heard = self.mods.model.representation
        chunk, context = (round(s * heard.frame_rate) for s in (CHUNK, CONTEXT))
        windows = plan_windows(heard.num_frames(audio.num_samples), chunk, context)
        bounds = sample_bounds(heard.hop, windows, audio.num_samples)
        parts = []
        for window, wav in zip(windows, windows_of(audio.blocks(), bounds), strict=True):
            with torch.no_grad(), self.inference_ctx:
                made, _ = self.mods.model(self.checked(wav)[0])
            check_computed(made, f"{self.verb.name}: the model", wav)
            parts.append(made[:, window.first - window.start : window.last - window.start].cpu())
        return self.search(torch.cat(parts, dim=1), torch.ones(1))[0]

    transcribe_batch, transcribe_file = Released.predict_batch, Released.predict_file


def _find_tokens(files: Mapping[str, str | Path]) -> TextTokens:
    models = [Path(path) for name, path in files.items() if name.endswith(".model")]
    if len(models) != 1:
        raise ValueError(f"a recogniser's release has one tokenizer, this one {len(models)}")
    return TextTokens(models[0].parent)
