"""What a run writes down: plain lines for people, TensorBoard for curves, sound and pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import yaml
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks
from speechbrain.utils.distributed import MainProcessContext, if_main_process
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class RunLogger:
    r"""The log of one run.

    Parameters
    ----------
    text : str or Path
        File of plain lines; appended to.
    tensorboard : str or Path, optional
        Folder of TensorBoard's events; without it, or without that package, there are none.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "train_log.txt"
    >>> RunLogger(path).line({"epoch": 1}, train={"mel": 0.5}, valid={"mel": 0.75})
    >>> path.read_text()
    'epoch: 1 - train mel: 5.000e-01 - valid mel: 7.500e-01\n'
    """

    def __init__(self, text: str | Path, tensorboard: str | Path | None = None) -> None:
        self.text, self.tensorboard = Path(text), tensorboard
        self._writer: SummaryWriter | None = None

    def open(self, update: int) -> None:
        """Start or go on.

        Parameters
        ----------
        update : int
            Updates done so far; later points of an interrupted run are dropped from the curves.
        """
        if self.tensorboard is None or self._writer is not None or not if_main_process():
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.warning("no TensorBoard logs: pip install tensorboard")
            return
        self._writer = SummaryWriter(str(self.tensorboard), purge_step=update + 1)

    def close(self) -> None:
        """Write out what is buffered."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def line(
        self,
        meta: Mapping[str, float | int | str],
        train: Mapping[str, float] | None = None,
        valid: Mapping[str, float] | None = None,
    ) -> None:
        """Append a line to the text log; the main process does.

        Parameters
        ----------
        meta : Mapping
            Where the run stands.
        train, valid : Mapping of str to float, optional
            Means of an epoch.
        """
        if not if_main_process():
            return
        # it complains of a missing torchvision once it is imported, before anybody can hush it
        from speechbrain.utils.train_logger import FileTrainLogger

        self.text.parent.mkdir(parents=True, exist_ok=True)
        with MainProcessContext():  # or it would wait for the others
            FileTrainLogger(str(self.text), precision=3).log_stats(dict(meta), train, valid)

    def scalars(self, values: Mapping[str, float], update: int, family: str) -> None:
        """Add a point to curves.

        Parameters
        ----------
        values : Mapping of str to float
            By curve.
        update : int
            Updates done.
        family : str
            Heading of the curves.
        """
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{family}/{name}", value, update)

    def audio(self, name: str, wav: Tensor, sample_rate: int, update: int) -> None:
        """Add a clip.

        Parameters
        ----------
        name : str
            Title.
        wav : Tensor
            Waveform `[T]`.
        sample_rate : int
            In Hz.
        update : int
            Updates done.
        """
        if self._writer is not None:
            self._writer.add_audio(name, wav.detach().float().cpu(), update, sample_rate)

    def spectrogram(self, name: str, log_mel: Tensor, update: int) -> None:
        """Add a picture, low frequencies at the bottom.

        Parameters
        ----------
        name : str
            Title.
        log_mel : Tensor
            `[bands, frames]`, any scale.
        update : int
            Updates done.
        """
        if self._writer is not None:
            image = log_mel.detach().float().cpu().flip(0)
            low, high = image.min(), image.max()
            image = (image - low) / (high - low).clamp(min=1e-9)
            self._writer.add_image(name, image, update, dataformats="HW")


@register_checkpoint_hooks
class EpochMeans:
    """Means of named numbers over an epoch, and a smoothed value of each for the progress bar.

    Numbers stay on their device until they are asked for, so that collecting them stalls nothing.

    Parameters
    ----------
    smoothing : float
        Weight of the past in one step of the smoothed value.

    Examples
    --------
    >>> means = EpochMeans(smoothing=0.5)
    >>> for value in (1.0, 3.0):
    ...     means.add({"mel": torch.tensor(value)})
    >>> means.mean(), means.smoothed()
    ({'mel': 2.0}, {'mel': 2.0})
    """

    def __init__(self, smoothing: float = 0.95) -> None:
        self.smoothing = smoothing
        self.reset()

    def reset(self) -> None:
        """Start a new epoch."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._smooth: dict[str, Tensor] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take in one step's numbers.

        Parameters
        ----------
        values : Mapping of str to Tensor
            Scalars; steps may differ in their names.
        """
        for name, value in values.items():
            value = torch.as_tensor(value).detach().double()
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
            past = self._smooth.get(name, value)
            self._smooth[name] = self.smoothing * past + (1.0 - self.smoothing) * value

    def mean(self) -> dict[str, float]:
        """Mean of each number over the epoch so far."""
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}

    def smoothed(self) -> dict[str, float]:
        """Exponentially smoothed value of each number."""
        return {name: float(value) for name, value in self._smooth.items()}

    @mark_as_saver
    def _save(self, path: str) -> None:
        sums = {name: float(value) for name, value in self._sums.items()}
        state = {"sums": sums, "counts": self._counts, "smooth": self.smoothed()}
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(state, file)

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        self.reset()
        if end_of_epoch:
            return
        with open(path, encoding="utf-8") as file:
            state = yaml.safe_load(file)
        as_tensor = lambda value: torch.tensor(value, dtype=torch.float64)  # noqa: E731
        self._sums = {name: as_tensor(value) for name, value in state["sums"].items()}
        self._counts = state["counts"]
        self._smooth = {name: as_tensor(value) for name, value in state["smooth"].items()}
