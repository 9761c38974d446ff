"""Text as tokens, characters or SentencePiece, and whether an utterance has frames enough."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import sentencepiece
from speechbrain.tokenizers.SentencePiece import SentencePiece

from wavcube.data.manifest import Utterance
from wavcube.data.texts import read_lines
from wavcube.utils.files import write_atomically

__all__ = ["TextTokens", "find_too_short", "frames_needed", "read_sentences", "train_tokens"]

logger = logging.getLogger(__name__)

TokenKind = Literal["char", "unigram", "bpe"]
# SentencePiece's id of what it does not know; such text is refused, so CTC's blank can have it
BLANK = 0
# of SentencePiece's levels
_ERRORS = 2
# an error shows so many of the characters that are unknown
SHOWN = 10


class TextTokens:
    """A trained tokenizer; made by :func:`train_tokens`.

    Parameters
    ----------
    folder : str or Path
        With one SentencePiece model of SpeechBrain's naming, SIZE_KIND.model.

    Raises
    ------
    FileNotFoundError
        If there is none, or more than one.

    Examples
    --------
    >>> tokens = train_tokens(["ONE TWO", "TWO ONE"], getfixture("tmp_path"))
    >>> tokens.decode(tokens.encode("TWO TWO"))
    'TWO TWO'
    >>> len(tokens), tokens.blank
    (7, 0)
    """

    def __init__(self, folder: str | Path) -> None:
        models = sorted(Path(folder).glob("*_*.model"))
        if len(models) != 1:
            raise FileNotFoundError(f"{folder} holds {len(models)} tokenizers, 1 is needed")
        size, _, kind = models[0].stem.partition("_")
        self.path, self.kind, self.blank = models[0], kind, BLANK
        self._pieces = SentencePiece(str(folder), int(size), model_type=kind).sp

    def __len__(self) -> int:
        return self._pieces.vocab_size()

    @property
    def pieces(self) -> list[str]:
        """Spelling of every label, the blank's first; "▁" stands for a word's boundary."""
        return [self._pieces.id_to_piece(label) for label in range(len(self))]

    def encode(self, text: str) -> list[int]:
        """Turn text into labels.

        Parameters
        ----------
        text : str
            A transcript.

        Returns
        -------
        list of int
            1 to the vocabulary's size - 1; 0 is CTC's blank.

        Raises
        ------
        ValueError
            If it is empty, or holds a character outside of the vocabulary.
        """
        if not text.strip():
            raise ValueError("the transcript is empty")
        labels = self._pieces.encode_as_ids(text)
        if BLANK in labels:
            pieces = zip(self._pieces.encode_as_pieces(text), labels, strict=True)
            unknown = "".join(piece for piece, label in pieces if label == BLANK)
            some = " ".join(sorted(set(unknown) - {"▁"})[:SHOWN])
            raise ValueError(
                f"{some} not in the vocabulary of {self.path}: correct {text!r}, or train "
                "the tokens on text that has it"
            )
        return labels

    def encode_rows(
        self, rows: Sequence[Utterance], place: Callable[[Utterance], str]
    ) -> dict[str, list[int]]:
        """Turn a manifest's transcripts into labels.

        Parameters
        ----------
        rows : sequence of Utterance
            Of a manifest.
        place : callable
            Says for an error where a row's transcript stands.

        Returns
        -------
        dict of str to list of int
            Labels by ID.

        Raises
        ------
        ValueError
            See :meth:`encode`.
        """
        labels = {}
        for row in rows:
            try:
                labels[row.ID] = self.encode(row.wrd)
            except ValueError as error:
                raise ValueError(f"{place(row)}: {error}") from error
        return labels

    def decode(self, labels: Sequence[int]) -> str:
        """Turn labels, blanks and repeats removed, into text."""
        return self._pieces.decode_ids([int(label) for label in labels]).strip()


def train_tokens(
    texts: Sequence[str], folder: str | Path, kind: TokenKind = "char", vocab_size: int = 1000
) -> TextTokens:
    """Train a tokenizer, or find the one that was trained on the same.

    Parameters
    ----------
    texts : sequence of str
        Transcripts, or the lines of :func:`read_sentences`.
    folder : str or Path
        Each training has a subfolder of it, named by what it was trained on.
    kind : {"char", "unigram", "bpe"}
        Characters, or pieces of words.
    vocab_size : int
        Labels with the blank, of pieces of words; characters are as many as there are.

    Returns
    -------
    TextTokens
        The tokenizer.

    Raises
    ------
    ValueError
        If the kind is another, there is no text, an item of it is empty, or it cannot give so many
        pieces.
    """
    if kind not in get_args(TokenKind):
        raise ValueError(f"tokens {kind!r} are none of {list(get_args(TokenKind))}")
    if not texts:
        raise ValueError("there is no text to train tokens on")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise ValueError(f"text {number} of {len(texts)}: the transcript is empty")
    lines = "\n".join(" ".join(text.split()) for text in texts)
    size = 0 if kind == "char" else vocab_size
    digest = hashlib.sha256(f"{kind} {size}\n{lines}".encode()).hexdigest()[:16]
    target = Path(folder) / digest
    if not any(target.glob("*.model")):
        # SpeechBrain gives paths to SentencePiece in one line that spaces split
        with tempfile.TemporaryDirectory() as draft:
            _train(lines, Path(draft), kind, size, target)
    return TextTokens(target)


def _train(lines: str, draft: Path, kind: TokenKind, size: int, target: Path) -> None:
    text_file = draft / "text.txt"
    text_file.write_text(lines + "\n", encoding="utf-8")
    # it writes its settings to stderr, past every logger
    sentencepiece.set_min_log_level(_ERRORS)
    try:
        trained = SentencePiece(
            str(draft),
            size,
            model_type=kind,
            text_file=str(text_file),
            # a character is a character: no word boundary before the first
            add_dummy_prefix=kind != "char",
        )
    except RuntimeError as error:
        count = lines.count("\n") + 1
        raise ValueError(
            f"no {size} tokens ({kind}) can be trained on {count} transcripts: {error}"
        ) from error
    model = Path(f"{trained.prefix_model_file}.model").read_bytes()
    write_atomically(target / f"{trained.sp.vocab_size()}_{kind}.model", model, overwrite=True)


def read_sentences(path: str | Path) -> list[str]:
    """Read the lines of a text file that hold something.

    Parameters
    ----------
    path : str or Path
        UTF-8.

    Returns
    -------
    list of str
        Without blank lines.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not UTF-8, or blank.
    """
    lines = [line.strip() for line in read_lines(path) if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no text")
    return lines


def frames_needed(labels: Sequence[int]) -> int:
    """Count the fewest frames from which CTC can give labels: a blank parts two equal ones.

    Parameters
    ----------
    labels : sequence of int
        Of one utterance.

    Returns
    -------
    int
        Labels and repeats.

    Examples
    --------
    >>> frames_needed([3, 3, 4])
    4
    """
    return len(labels) + sum(a == b for a, b in pairwise(labels))


def find_too_short(
    labels: Mapping[str, Sequence[int]], frames: Mapping[str, int], limit: float = 0.01
) -> list[str]:
    """Find the utterances with fewer frames than their labels need, before training.

    Parameters
    ----------
    labels : mapping of str to sequence of int
        By ID.
    frames : mapping of str to int
        Of the representation, by the same IDs.
    limit : float
        Share of utterances above which to refuse.

    Returns
    -------
    list of str
        Their IDs, to be left out: CTC has no loss for them.

    Raises
    ------
    ValueError
        If they are more than the limit.

    Examples
    --------
    >>> find_too_short({"a": [1, 2], "b": [1, 1]}, {"a": 2, "b": 2}, limit=0.5)
    ['b']
    """
    short = [name for name in labels if frames[name] < frames_needed(labels[name])]
    if not short:
        return short
    worst = max(short, key=lambda name: frames_needed(labels[name]) - frames[name])
    said = (
        f"{len(short)} of {len(labels)} utterances have fewer frames than their labels need, "
        f"{worst!r} {frames[worst]} for {frames_needed(labels[worst])}"
    )
    if len(short) > limit * len(labels):
        raise ValueError(
            f"{said}; at most {limit:.1%} may: take larger tokens or a representation of more "
            "frames a second, or check the transcripts"
        )
    logger.warning("%s: they are left out", said)
    return short
