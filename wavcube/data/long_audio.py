"""Recordings of any length in and out: a window of them in memory at a time."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import soundfile
import torch
import torchaudio
from torch import Tensor

from wavcube.data.audio import inspect_audio
from wavcube.lobes.layers.level import Level
from wavcube.utils.atomic import atomic_file

logger = logging.getLogger(__name__)

# seconds that are read at once
BLOCK = 10
# of torchaudio's resampling filter to each side (6 / 0.99), in samples of the slower rate
FILTER_WIDTH = 7


class LongAudio:
    """A recording that is read from its beginning to its end, as mono at a given rate.

    Blocks are decoded and resampled one after the other; what is given equals
    :func:`~wavcube.data.audio.read_audio` of the whole.

    Parameters
    ----------
    path : str or Path
        Anything that libsndfile reads.
    sample_rate : int
        Wanted, in Hz.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`~wavcube.data.audio.inspect_audio`.

    Examples
    --------
    >>> from wavcube.data.audio import write_audio
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> write_audio(path, torch.zeros(8000), 8000)
    >>> audio = LongAudio(path, 16000)
    >>> audio.num_samples, sum(len(block) for block in audio.blocks())
    (16000, 16000)
    """

    def __init__(self, path: str | Path, sample_rate: int) -> None:
        self.path, self.sample_rate = Path(path), sample_rate
        self.info = inspect_audio(path)
        common = math.gcd(self.info.sample_rate, sample_rate)
        self._from, self._to = self.info.sample_rate // common, sample_rate // common
        if self.info.channels > 1:
            logger.info("%s: %d channels averaged to one", path, self.info.channels)
        if self._from != self._to:
            rates = self.info.sample_rate, sample_rate
            logger.info("%s: resampled from %d to %d Hz", path, *rates)

    @property
    def num_samples(self) -> int:
        """Samples at the wanted rate."""
        return -(-self.info.frames * self._to // self._from)

    def level(self) -> Level:
        """Measure mean and variance of the whole."""
        return Level.of_chunks(self.blocks())

    def blocks(self) -> Iterator[Tensor]:
        """Give the recording as blocks `[T]`, in order.

        Raises
        ------
        ValueError
            If the file is damaged or ends early, or holds samples that are not finite.
        """
        if self._from == self._to:
            yield from self._read()
            return
        reach = self._reach()
        kept, first, done = torch.zeros(0), 0, 0  # the input from `first` on, a whole unit
        for block in self._read():
            kept = torch.cat([kept, block])
            stop = (first + len(kept) - reach) // self._from * self._from
            if stop > done:
                yield self._resample(kept)[self._at(done - first) : self._at(stop - first)]
                done, drop = stop, max(0, stop - reach - first)
                kept, first = kept[drop:], first + drop
        yield self._resample(kept)[self._at(done - first) :]

    def _reach(self) -> int:
        """Count the input samples to each side that the filter sees, as whole units."""
        width = math.ceil(FILTER_WIDTH * self._from / min(self._from, self._to))
        return (-(-width // self._from) + 1) * self._from

    def _at(self, units: int) -> int:
        """Give the output sample at an input sample that begins a unit."""
        return units // self._from * self._to

    def _resample(self, wav: Tensor) -> Tensor:
        return torchaudio.functional.resample(wav, self.info.sample_rate, self.sample_rate)

    def _read(self) -> Iterator[Tensor]:
        size, done = BLOCK * self.info.sample_rate, 0
        try:
            with soundfile.SoundFile(self.path) as file:
                while len(read := file.read(size, dtype="float32", always_2d=True)):
                    block = torch.from_numpy(read).mean(dim=1)
                    self._check(block, done)
                    done += len(block)
                    yield block
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{self.path} is damaged: it cannot be decoded to its end") from error
        if done != self.info.frames:
            raise ValueError(
                f"{self.path} is truncated: its header promises {self.info.frames} samples, "
                f"there are {done}"
            )

    def _check(self, block: Tensor, done: int) -> None:
        bad = ~torch.isfinite(block)
        if bool(bad.any()):
            where = done + int(bad.nonzero()[0])
            raise ValueError(f"{self.path} is NaN or infinite at sample {where}")


class WaveformInMemory:
    """A waveform with the methods of :class:`LongAudio`.

    Parameters
    ----------
    wav : Tensor
        `[T]`.

    Examples
    --------
    >>> WaveformInMemory(torch.ones(3)).level()
    Level(mean=1.0, variance=0.0)
    """

    def __init__(self, wav: Tensor) -> None:
        self.wav = wav

    @property
    def num_samples(self) -> int:
        """Samples of the waveform."""
        return len(self.wav)

    def level(self) -> Level:
        """Measure mean and variance of the whole."""
        return Level.of_chunks(self.blocks())

    def blocks(self) -> Iterator[Tensor]:
        """Give the waveform as blocks `[T]`, in order."""
        yield self.wav


def windows_of(blocks: Iterable[Tensor], bounds: Iterable[tuple[int, int]]) -> Iterator[Tensor]:
    """Cut overlapping windows from blocks that come in order.

    Parameters
    ----------
    blocks : iterable of Tensor
        `[T]` each.
    bounds : iterable of tuple of int
        First and last sample (exclusive) of each window; neither ever falls.

    Yields
    ------
    Tensor
        `[T]` of each window.

    Examples
    --------
    >>> blocks = torch.arange(10.0).split(4)
    >>> [window.tolist() for window in windows_of(blocks, [(0, 2), (1, 6)])]
    [[0.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    """
    source, kept, first = iter(blocks), torch.zeros(0), 0
    for start, stop in bounds:
        while first + len(kept) < stop:
            drop = min(start - first, len(kept))
            kept, first = torch.cat([kept[drop:], next(source)]), first + drop
        yield kept[start - first : stop - first]


class AudioWriter:
    """Write a mono waveform chunk by chunk; the file appears when it is complete.

    Parameters
    ----------
    path : str or Path
        Its suffix chooses the format: ".wav" or ".flac", 16 bits.
    sample_rate : int
        In Hz.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> with AudioWriter(path, 16000) as writer:
    ...     writer.write(torch.zeros(100))
    >>> inspect_audio(path).frames
    100
    """

    def __init__(self, path: str | Path, sample_rate: int) -> None:
        self.path, self.sample_rate = Path(path), sample_rate
        self._clipped = 0

    def __enter__(self) -> AudioWriter:
        self._atomic = atomic_file(self.path, overwrite=True)
        draft = self._atomic.__enter__()
        try:
            draft.touch()  # libsndfile hides why a file cannot be made
            self._file = soundfile.SoundFile(draft, "w", self.sample_rate, 1, "PCM_16")
        except BaseException as error:
            self._atomic.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except soundfile.LibsndfileError as failure:
            error = error or OSError(f"cannot write {self.path}: is the disk full?")
            self._atomic.__exit__(type(error), error, trace)
            raise error from failure
        if error is None and self._clipped:
            logger.info("%s: %d samples clipped", self.path, self._clipped)
        self._atomic.__exit__(kind, error, trace)

    def write(self, wav: Tensor) -> None:
        """Append samples `[T]`; what lies beyond -1 to 1 is clipped and counted.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        self._clipped += int((wav.abs() > 1).sum())
        try:
            self._file.write(wav.clamp(-1.0, 1.0).cpu().numpy())
        except soundfile.LibsndfileError as error:
            raise OSError(f"cannot write {self.path}: is the disk full?") from error
