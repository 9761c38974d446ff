"""What every metric shares: its identity card, its result and its way of failing."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import numpy as np
import torch

from wavcube.data import resampling
from wavcube.data.audio import inspect_audio, read_audio
from wavcube.release.card import installed_version

Seconds = float


class MetricError(Exception):
    """A score that cannot be computed for one pair of signals; the message is the reason."""


class TechnicalError(MetricError):
    """A score that a file or a tool stands in the way of, whatever the clip sounds like."""


# three steps of 16-bit audio: what dither leaves of digital silence
SILENCE_PEAK = 1e-4
# A codec may round to whole frames; anything longer is another recording or a bug.
LENGTH_TOLERANCE: Seconds = 0.05


@dataclass(frozen=True)
class SignalPair:
    """A reference, what a system made of it, and what is said in it.

    Parameters
    ----------
    name : str
        Identifier in reports; scores are sorted by it.
    reference, generated : ndarray or Path
        Mono waveforms, ``[T]``, or audio files that are read when the pair is scored.
    sample_rate : int, optional
        Rate in Hz of waveforms given as arrays; files carry their own. A generated file is
        resampled to the reference's rate; a generated array must have it.
    transcript : str, optional
        What is said, for the word error rate.

    Raises
    ------
    ValueError
        If an array is not one-dimensional or comes without its rate.

    Examples
    --------
    >>> import numpy as np
    >>> SignalPair("a", np.ones(8), np.ones(8), 16000).load().sample_rate
    16000
    """

    name: str
    reference: np.ndarray | Path
    generated: np.ndarray | Path
    sample_rate: int | None = None
    transcript: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no later step could explain."""
        for label, source in (("reference", self.reference), ("generated", self.generated)):
            if not isinstance(source, (np.ndarray, Path)):
                raise ValueError(f"the {label} signal is an array or a Path, not {type(source)}")
            if isinstance(source, np.ndarray) and source.ndim != 1:
                raise ValueError(f"the {label} signal must be mono [T], got shape {source.shape}")
            if isinstance(source, np.ndarray) and self.sample_rate is None:
                raise ValueError(f"the {label} signal is an array: its sample_rate is needed")

    def load(self) -> LoadedPair:
        """Read files, resample the generated signal to the reference's rate, check both.

        Returns
        -------
        LoadedPair
            The same pair with float64 waveforms ``[T]`` and ``[T']`` at one rate.

        Raises
        ------
        TechnicalError
            If a file cannot be read.
        MetricError
            If a signal is empty, silent or not finite.
        """
        try:
            if isinstance(self.reference, Path):
                rate = inspect_audio(self.reference).sample_rate
            else:
                rate = cast(int, self.sample_rate)  # every array comes with one
            reference, generated = (
                read_audio(source, rate).double().numpy() if isinstance(source, Path) else source
                for source in (self.reference, self.generated)
            )
        except (OSError, ValueError) as error:
            raise TechnicalError(str(error)) from error
        for label, samples in (("reference", reference), ("generated", generated)):
            _check(samples, label)
        reference, generated = reference.astype(np.float64), generated.astype(np.float64)
        return LoadedPair(self.name, reference, generated, rate, self.transcript)


class LoadedPair(SignalPair):
    """A pair whose waveforms have been read and checked, both at one rate."""

    reference: np.ndarray
    generated: np.ndarray
    sample_rate: int

    def trimmed(self) -> LoadedPair:
        """Cut both signals to the shorter one's length.

        Returns
        -------
        LoadedPair
            The pair with equal lengths.

        Raises
        ------
        MetricError
            If the lengths differ by more than ``LENGTH_TOLERANCE``.
        """
        sizes = len(self.reference), len(self.generated)
        if abs(sizes[0] - sizes[1]) > LENGTH_TOLERANCE * self.sample_rate:
            raise MetricError(
                f"the reference has {sizes[0]} samples and the generated signal {sizes[1]} at "
                f"{self.sample_rate} Hz: an aligned score needs lengths within "
                f"{LENGTH_TOLERANCE} s of each other"
            )
        size = min(sizes)
        return replace(self, reference=self.reference[:size], generated=self.generated[:size])


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Change the sample rate by band-limited interpolation.

    Parameters
    ----------
    samples : ndarray
        Waveform, ``[T]``.
    rate, new_rate : int
        Present and wanted rate in Hz.

    Returns
    -------
    ndarray
        Float64 ``[ceil(T * new_rate / rate)]``.

    Examples
    --------
    >>> import numpy as np
    >>> resample(np.ones(441), 44100, 16000).shape
    (160,)
    """
    wav = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float64))
    return resampling.resample(wav, rate, new_rate).numpy()


def _check(samples: np.ndarray, label: str) -> None:
    if samples.size == 0:
        raise MetricError(f"the {label} signal has no samples")
    if not np.isfinite(samples).all():
        raise MetricError(f"the {label} signal has NaN or infinite samples")
    peak = np.abs(samples).max()
    if peak < SILENCE_PEAK:
        raise MetricError(f"the {label} signal is silent (peak {peak:.1e} < {SILENCE_PEAK:.0e})")


@dataclass(frozen=True)
class MetricInfo:
    """What a number means: a score without this cannot be compared with anybody else's.

    Parameters
    ----------
    key : str
        Short name in code and JSON.
    name : str
        Full name of the metric and its variant, as tables print it.
    description : str
        One sentence: definition and source.
    unit : str
        Unit of the value, empty where it has none.
    better : {"higher", "lower"}
        Which direction is an improvement.
    package : str
        Distribution that computes it.
    sample_rate : int, optional
        Rate in Hz at which the tool works (signals are resampled to it); None where it works at the
        reference's own rate.
    aligned : bool
        Whether the two signals are compared sample by sample or frame by frame, which needs equal
        lengths.
    model_file, model_sha256 : str, optional
        Name and SHA-256 of the model that the user gave; None where the package has all it needs.
    """

    key: str
    name: str
    description: str
    unit: str
    better: Literal["higher", "lower"]
    package: str
    sample_rate: int | None = None
    aligned: bool = True
    model_file: str | None = None
    model_sha256: str | None = None

    @property
    def version(self) -> str:
        """Installed version of the package, or "not installed"."""
        return installed_version(self.package)

    def as_dict(self) -> dict[str, Any]:
        """Give the card as plain data, the package's version included.

        Returns
        -------
        dict
            The constructor's arguments and ``version``.
        """
        return {**asdict(self), "version": self.version}


@dataclass(frozen=True)
class Measurement:
    """One score of one pair.

    Parameters
    ----------
    value : float
        The score.
    weight : float
        What it counts in a mean: 1, or the number of words for an error rate, whose mean is then
        the rate over all words.
    """

    value: float
    weight: float = 1.0


@dataclass(frozen=True)
class Metric:
    """A metric's identity and the function that measures it on a loaded pair.

    Parameters
    ----------
    info : MetricInfo
        Its identity card.
    measure : Callable
        From a loaded :class:`SignalPair` to a :class:`Measurement`; raises ``MetricError``.
    """

    info: MetricInfo
    measure: Callable[[LoadedPair], Measurement]


#: how the reason begins where a metric's package is missing
NOT_COMPUTED = "not computed: "


def require(module: str, package: str, extra: str = "eval") -> ModuleType:
    """Import a tool that the base installation does not bring.

    Parameters
    ----------
    module : str
        Module to import.
    package : str
        Distribution that has it.
    extra : str
        Extra of this package that installs it.

    Returns
    -------
    ModuleType
        The module.

    Raises
    ------
    TechnicalError
        If it cannot be imported; the message names the extra to install.

    Examples
    --------
    >>> require("json", "python").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        hint = "'setuptools<81'" if "pkg_resources" in str(error) else f"'wavcube[{extra}]'"
        raise TechnicalError(
            f"{NOT_COMPUTED}{package} cannot be imported ({error}); pip install {hint}"
        ) from error


@dataclass(frozen=True)
class ModelFile:
    """A file and what was in it when the evaluation began.

    Parameters
    ----------
    path : Path
        Where it is.
    sha256 : str
        Of its content, in hexadecimal.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "model.onnx"
    >>> _ = path.write_bytes(b"abc")
    >>> model = ModelFile.identify(path)
    >>> model.sha256[:16], model.read()
    ('ba7816bf8f01cfea', b'abc')
    """

    path: Path
    sha256: str

    @classmethod
    def identify(cls, path: str | Path) -> ModelFile:
        """Hash a file.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        ModelFile
            The file with its hash.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no model file {path}: nothing is downloaded")
        return cls(path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest())

    def read(self) -> bytes:
        """Read the file, if it still is the one that was identified.

        Returns
        -------
        bytes
            Its content.

        Raises
        ------
        TechnicalError
            If it is gone or changed: the scores of one evaluation come from one model.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise TechnicalError(f"the model file cannot be read: {error}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise TechnicalError(
                f"the model file {self.path} changed during the evaluation: its SHA-256 was "
                f"{self.sha256} and is {found}"
            )
        return content

    def sign(self, info: MetricInfo) -> MetricInfo:
        """Say on a metric's card that this file computes it.

        Parameters
        ----------
        info : MetricInfo
            The card.

        Returns
        -------
        MetricInfo
            The card with the file's name and hash.
        """
        return replace(info, model_file=self.path.name, model_sha256=self.sha256)
