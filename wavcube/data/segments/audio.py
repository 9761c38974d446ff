"""Seekable reads: of a long recording no more is decoded than a segment needs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from torch import Tensor

from wavcube.data.resampling import resample
from wavcube.data.segments.row import Segment
from wavcube.data.sound_file import SoundFile

__all__ = ["OpenSegment", "open_segment", "read_segment"]

logger = logging.getLogger(__name__)

# durations in manifests are rounded; LibriHeavy's and Lhotse's by less than this
TOLERANCE = 0.05  # seconds


class OpenSegment(NamedTuple):
    """A segment whose recording is open.

    Attributes
    ----------
    file : SoundFile
        The recording.
    first : int
        Its first frame.
    frames : int
        How many it has, at the recording's own rate.
    segment : Segment
        The row.
    """

    file: SoundFile
    first: int
    frames: int
    segment: Segment

    def read(self, offset: int, frames: int, sample_rate: int) -> Tensor:
        """Decode a part of it.

        Parameters
        ----------
        offset, frames : int
            Which part, in frames of the recording, from the segment's beginning on.
        sample_rate : int
            Wanted, in Hz.

        Returns
        -------
        Tensor
            `[T]`, float32.

        Raises
        ------
        ValueError
            If it cannot be decoded, or holds NaN or infinite samples.
        """
        samples = self.file.read_from(self.first + offset, frames)
        name = f"{self.segment.path} (segment {self.segment.id})"
        if len(samples) != frames:
            raise ValueError(f"{name} is truncated: of {frames} samples there are {len(samples)}")
        channel = self.segment.channel
        wav = samples.mean(dim=1) if channel is None else samples[:, channel].clone()
        if not wav.isfinite().all():
            raise ValueError(f"{name}: samples that are NaN or infinite")
        return resample(wav, self.file.samplerate, sample_rate)


@contextmanager
def open_segment(segment: Segment) -> Iterator[OpenSegment]:
    """Open a segment's recording, and make sure that it reaches far enough.

    Parameters
    ----------
    segment : Segment
        A row. One of duration 0 goes to the recording's end.

    Yields
    ------
    OpenSegment
        To read from.

    Raises
    ------
    FileNotFoundError
        If there is no such recording.
    ValueError
        If it is not audio, or too short, or has no such channel. What the body cannot decode is
        one too.
    """
    name = f"{segment.path} (segment {segment.id})"
    try:
        with SoundFile(_source(segment, name)) as file:
            first = round(segment.start * file.samplerate)
            frames = round(segment.duration * file.samplerate) or file.frames - first
            spare = file.frames - first - frames
            if spare < -TOLERANCE * file.samplerate or first >= file.frames:
                raise ValueError(
                    f"{name}: the segment ends at {segment.start + segment.duration:.2f} s, its "
                    f"recording at {file.frames / file.samplerate:.2f} s"
                )
            if segment.channel is not None and segment.channel >= file.channels:
                raise ValueError(
                    f"{name}: channel {segment.channel} of {file.channels}, counted from 0"
                )
            yield OpenSegment(file, first, min(frames, file.frames - first), segment)
    except soundfile.LibsndfileError as error:
        reason = error.error_string
        raise ValueError(f"{name} cannot be decoded: it is damaged, or no audio ({reason})") from (
            error
        )


def read_segment(segment: Segment, sample_rate: int) -> Tensor:
    """Read a segment as a mono waveform.

    Parameters
    ----------
    segment : Segment
        A row.
    sample_rate : int
        Wanted, in Hz; recordings at other rates are resampled.

    Returns
    -------
    Tensor
        `[T]`, float32.

    Raises
    ------
    FileNotFoundError, ValueError
        As :func:`open_segment` does.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "long.wav"
    >>> soundfile.write(path, torch.zeros(16000).numpy(), 16000)
    >>> read_segment(Segment("a", 0.25, str(path), start=0.5), 8000).shape
    torch.Size([2000])
    """
    with open_segment(segment) as opened:
        return opened.read(0, opened.frames, sample_rate)


def _source(segment: Segment, name: str) -> str | io.BytesIO:
    """Give what libsndfile opens; it hides why a file cannot be opened."""
    path = Path(segment.path)
    try:
        with path.open("rb") as file:
            if segment.member is None:
                return segment.path
            first, size = segment.member
            file.seek(first)
            data = file.read(size)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no recording {name}") from error
    except OSError as error:
        raise type(error)(f"cannot read {name}: {error.strerror}") from error
    if len(data) != size:
        raise ValueError(f"{name} is truncated: of {size} bytes there are {len(data)}")
    return io.BytesIO(data)


# a share says little of fewer reads
_AT_LEAST = 1000


_LOGGED = 10


def check_bad_fraction(fraction: float) -> None:
    """Refuse a limit that is not a share.

    Parameters
    ----------
    fraction : float
        `max_bad_fraction`.

    Raises
    ------
    ValueError
        If it does not lie in [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"max_bad_fraction {fraction} must lie in [0, 1]")


class UnreadableError(ValueError):
    """Too much of a corpus cannot be read.

    Parameters
    ----------
    message : str
        Of the error; from a loader's worker it comes with a traceback before it, which is cut off.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].strip())


class BadReads:
    """Counts the reads of a process and its loaders' workers, and how many of them failed.

    Parameters
    ----------
    max_fraction : float
        How many may fail: of all reads so far, or of 1000 where there are fewer.

    Examples
    --------
    >>> reads = BadReads(0.001)
    >>> reads.failed(ValueError("a.wav is damaged"))
    >>> reads.failed(ValueError("b.wav is damaged"))
    Traceback (most recent call last):
    ...
    wavcube.data.segments.audio.UnreadableError: 2 of 2 segments could not be read, ...; ...
    """

    def __init__(self, max_fraction: float) -> None:
        self.max_fraction = max_fraction
        # reads and failures, in memory that is shared with workers, which last for an epoch only;
        # two that count at once may lose one
        self._counts = torch.zeros(2, dtype=torch.long).share_memory_()

    @property
    def bad(self) -> int:
        """How many failed."""
        return int(self._counts[1])

    def succeeded(self) -> None:
        """Count one that was read."""
        self._counts[0] += 1

    def failed(self, error: Exception) -> None:
        """Count one that was not, and say why.

        Parameters
        ----------
        error : Exception
            The reason.

        Raises
        ------
        UnreadableError
            If there are too many.
        """
        self._counts += 1
        reads, bad = self._counts.tolist()
        if bad > self.max_fraction * max(reads, _AT_LEAST):
            raise UnreadableError(
                f"{bad} of {reads} segments could not be read, and at most "
                f"{self.max_fraction:.2%} may fail (max_bad_fraction); `wavcube manifest` lists "
                f"the bad ones and writes a manifest without them; the last: {error}"
            ) from error
        logger.warning("left out: %s", error)
