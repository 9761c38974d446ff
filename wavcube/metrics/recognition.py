"""Word error rate as pocketsphinx hears it: a small recogniser whose model comes with its wheel.

It errs on natural speech too, so only the difference of two systems, or of a system and the
original (``wer_original``), means something.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache

import numpy as np

from wavcube.metrics.base import LoadedPair, Measurement, MetricError, MetricInfo, require, resample

_RECOGNISER = "by pocketsphinx with its packaged en-us model; lower case, punctuation removed"
_RATE = 16000  # in Hz
WER = MetricInfo(
    key="wer",
    name="Word error rate (pocketsphinx)",
    description=(
        "Wrong, missing and added words per word of the transcript, or of the recogniser's reading "
        f"of the original where there is no transcript, {_RECOGNISER}"
    ),
    unit="",
    better="lower",
    package="pocketsphinx",
    sample_rate=_RATE,
    aligned=False,
)
WER_ORIGINAL = replace(
    WER,
    key="wer_original",
    name="Word error rate of the original (pocketsphinx)",
    description=f"The same of the reference signal against its transcript, {_RECOGNISER}",
)


def word_error_rate(reference: str, hypothesis: str) -> Measurement:
    """Count word errors of one text against another.

    Parameters
    ----------
    reference : str
        What is said.
    hypothesis : str
        What was heard.

    Returns
    -------
    Measurement
        Errors per reference word (may exceed 1), weighted by the number of reference words.

    Raises
    ------
    MetricError
        If the reference has no words.

    Examples
    --------
    >>> word_error_rate("A rose is a rose.", "a nose is rose")
    Measurement(value=0.4, weight=5.0)
    """
    reference, hypothesis = normalize_text(reference), normalize_text(hypothesis)
    if not reference:
        raise MetricError("there are no words to compare with")
    result = require("jiwer", "jiwer").process_words(reference, hypothesis)
    words = result.hits + result.substitutions + result.deletions
    errors = result.substitutions + result.deletions + result.insertions
    return Measurement(errors / words, float(words))


def normalize_text(text: str) -> str:
    """Reduce a text to lower-case words of letters, digits and apostrophes.

    Parameters
    ----------
    text : str
        Any text; numbers are not spelt out.

    Returns
    -------
    str
        Words separated by single spaces.

    Examples
    --------
    >>> normalize_text("Don't -- stop, Mr. O’Brien!")
    "don't stop mr o'brien"
    """
    words = re.findall(r"[\w']+", text.lower().replace("\u2019", "'"))
    return " ".join(word.strip("'") for word in words if word.strip("'"))


def recognize(samples: np.ndarray, sample_rate: int) -> str:
    """Transcribe English speech.

    Parameters
    ----------
    samples : ndarray
        Waveform, ``[T]``.
    sample_rate : int
        Its rate in Hz.

    Returns
    -------
    str
        The words heard; empty if none.
    """
    wav = resample(samples, sample_rate, _RATE)
    return _decode((wav.clip(-1, 1) * 32767).astype("<i2").tobytes())


def measure_wer(pair: LoadedPair) -> Measurement:
    """Word error rate of the generated signal.

    Parameters
    ----------
    pair : LoadedPair
        Signals; without a transcript, the recogniser reads the reference.

    Returns
    -------
    Measurement
        The rate, weighted by words.

    Raises
    ------
    MetricError
        If there are no words to compare with.
    """
    said = pair.transcript
    transcript = recognize(pair.reference, pair.sample_rate) if said is None else said
    return word_error_rate(transcript, recognize(pair.generated, pair.sample_rate))


def measure_wer_of_original(pair: LoadedPair) -> Measurement:
    """Word error rate of the reference signal.

    Parameters
    ----------
    pair : LoadedPair
        Signals and a transcript.

    Returns
    -------
    Measurement
        The rate, weighted by words.

    Raises
    ------
    MetricError
        If there is no transcript or no word in it.
    """
    if pair.transcript is None:
        raise MetricError("there is no transcript")
    return word_error_rate(pair.transcript, recognize(pair.reference, pair.sample_rate))


# The original is read for two metrics, and is often compared with itself.
@lru_cache(maxsize=4)
def _decode(pcm: bytes) -> str:
    # A new decoder each time: it adapts to what it has heard, and the order must change nothing.
    pocketsphinx = require("pocketsphinx", "pocketsphinx")
    decoder = pocketsphinx.Decoder(samprate=float(_RATE), loglevel="FATAL")
    decoder.start_utt()
    decoder.process_raw(pcm, no_search=False, full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp()
    return heard.hypstr if heard is not None else ""
