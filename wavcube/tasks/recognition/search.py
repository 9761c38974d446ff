"""From CTC log-probabilities to text: the best path, or a beam with or without a language model."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from speechbrain.decoders.ctc import CTCBeamSearcher, ctc_greedy_decode
from torch import Tensor

from wavcube.data.tokens import TextTokens
from wavcube.lobes.lengths import to_absolute


class CTCSearch:
    """SpeechBrain's CTC searchers on this package's tokens and lengths.

    Parameters
    ----------
    tokens : TextTokens
        Of the model.
    beam_size : int
        Hypotheses that are followed; 1 takes the best label of every frame.
    language_model : str or Path, optional
        A KenLM model of words, .arpa or .bin, of order 2 at least; with a beam only.
    lm_weight : float
        Of the language model's log-probability (SUPERB, arXiv 2105.01051, takes 2 on LibriSpeech).
    word_score : float
        Added for every word (SUPERB takes -1).

    Raises
    ------
    ValueError
        If the beam is less than 1, or of 1 with a language model, or KenLM cannot read that.
    FileNotFoundError
        If there is no such language model.
    ImportError
        If a language model is given and KenLM is not installed.

    Examples
    --------
    >>> import torch
    >>> from wavcube.data.tokens import train_tokens
    >>> tokens = train_tokens(["AB"], getfixture("tmp_path"))
    >>> path = [tokens.encode("A")[0], 0, tokens.encode("B")[0], 0]
    >>> log_probs = torch.nn.functional.one_hot(torch.tensor([path]), len(tokens)).float()
    >>> CTCSearch(tokens)(log_probs), CTCSearch(tokens)(log_probs, torch.tensor([0.5]))
    (['AB'], ['A'])
    """

    def __init__(
        self,
        tokens: TextTokens,
        beam_size: int = 1,
        language_model: str | Path | None = None,
        lm_weight: float = 2.0,
        word_score: float = -1.0,
    ) -> None:
        if beam_size < 1 or (beam_size == 1 and language_model is not None):
            raise ValueError(
                f"a beam of {beam_size}: at least 1 is needed, and more with a language model"
            )
        if language_model is not None and not Path(language_model).is_file():
            raise FileNotFoundError(f"there is no language model {language_model}")
        self.tokens, self._beam = tokens, None
        if beam_size > 1:
            self._beam = _beam_searcher(tokens, beam_size, language_model, lm_weight, word_score)

    def __call__(self, log_probs: Tensor, lens: Tensor | None = None) -> list[str]:
        """Read off the text.

        Parameters
        ----------
        log_probs : Tensor
            `[B, N, tokens]`.
        lens : Tensor, optional
            Relative lengths `[B]`; by default every item fills the batch.

        Returns
        -------
        list of str
            Text of each item; empty where nothing was heard.
        """
        frames = to_absolute(lens, log_probs.shape[1], len(log_probs), log_probs.device)
        if self._beam is None:
            paths = ctc_greedy_decode(log_probs, frames / log_probs.shape[1], self.tokens.blank)
            return [self.tokens.decode(path) for path in paths]
        # item by item: of a batch SpeechBrain rounds lengths down
        rows = zip(log_probs.float().cpu().numpy(), frames.tolist(), strict=True)
        return [self._beam.decode_log_probs(row, count)[0].text.strip() for row, count in rows]


def _beam_searcher(
    tokens: TextTokens,
    beam_size: int,
    language_model: str | Path | None,
    lm_weight: float,
    word_score: float,
) -> CTCBeamSearcher:
    if language_model is not None and not all(map(find_spec, ("kenlm", "pygtrie"))):
        # SpeechBrain's own message names kenlm alone, whichever of the two is missing
        raise ImportError('a language model needs KenLM: pip install "wavcube[lm]"')
    try:
        return CTCBeamSearcher(
            tokens.blank,
            tokens.pieces,
            kenlm_model_path=None if language_model is None else str(language_model),
            alpha=lm_weight,
            beta=word_score,
            beam_size=beam_size,
        )
    except OSError as error:
        raise ValueError(
            f"{language_model} is not a language model that KenLM reads: {error}"
        ) from error
