"""What every metric shares: its identity card, its result and its way of failing."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Literal

from wavcube.metrics.signals import LoadedPair, TechnicalError


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
        try:
            return version(self.package)
        except PackageNotFoundError:
            return "not installed"

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
            f"not computed: {package} cannot be imported ({error}); pip install {hint}"
        ) from error
