"""A model that the user gives for a score: never downloaded, its hash stays with the figures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from wavcube.metrics.base import MetricInfo
from wavcube.metrics.signals import TechnicalError


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
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        return cls(path.resolve(), digest.hexdigest())

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
