"""What the classes for tasks share: which releases they load, and how they read files."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from wavcube.data.audio import read_audio
from wavcube.inference.base import ReleasedModel


class TaskInference(ReleasedModel):
    """A task's model of a release."""

    MODULES_NEEDED = ["model"]  # noqa: RUF012 - SpeechBrain's convention

    def load_audio(self, path: str | Path, savedir: str | Path | None = None) -> Tensor:
        """Read an audio file from disk at the model's rate, as mono.

        Parameters
        ----------
        path : str or Path
            The file. Nothing is fetched from elsewhere.
        savedir : str or Path, optional
            SpeechBrain's argument; unused.

        Returns
        -------
        Tensor
            `[T]`, on the CPU.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no audio, is empty or holds samples that are not finite.
        """
        del savedir
        return read_audio(path, self.sample_rate)
