"""Sound files of every kind that libsndfile reads: from any place, and whole or not."""

from __future__ import annotations

import logging
import os
import re
from functools import cached_property
from io import BytesIO
from pathlib import Path

import soundfile
import torch
from torch import Tensor

__all__ = [
    "SoundFile",
    "check_complete",
]

logger = logging.getLogger(__name__)

# libsndfile's number of samples of a FLAC stream whose header leaves it open, and some less
_OPEN_END = 2**62
# frames that are decoded together
_BLOCK = 2**16
# samples of an Ogg page at most: 255 packets of Vorbis' 1024
_VORBIS_PAGE = 2**18


class SoundFile(soundfile.SoundFile):
    """soundfile's class, for codecs that cannot be sought in and streams of unknown length as well.

    Parameters
    ----------
    file : str, Path or BytesIO
        What is opened; its name may be of any bytes.
    mode, sample_rate, channels, subtype : optional
        Of a file to write, as soundfile takes them; by default it is read.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, torch.zeros(8000).numpy(), 16000, subtype="GSM610")
    >>> with SoundFile(path) as file:
    ...     file.frames, file.read_from(7000, 100).shape
    (8320, torch.Size([100, 1]))
    """

    def __init__(
        self,
        file: str | bytes | Path | BytesIO,
        mode: str = "r",
        sample_rate: int | None = None,
        channels: int | None = None,
        subtype: str | None = None,
    ) -> None:
        if not isinstance(file, BytesIO) and os.name == "posix":
            # soundfile encodes names strictly: of bytes that are not text it could open no file
            file = os.fsencode(file)
        super().__init__(file, mode, sample_rate, channels, subtype)

    def seekable(self) -> bool:
        """Say no: then nothing seeks unasked, as some codecs cannot that say they can (DWVW)."""
        return False

    @cached_property
    def frames(self) -> int:
        """Samples of each channel; where the header does not tell, they are counted."""
        promised = super().frames
        if promised < _OPEN_END:
            return promised
        with self._again() as again:
            return again._skip(promised)

    def read_from(self, first: int, frames: int) -> Tensor:
        """Decode samples from any place; there are fewer where the file ends.

        Parameters
        ----------
        first, frames : int
            The first sample, and how many.

        Returns
        -------
        Tensor
            `[T, C]`, float32.

        Raises
        ------
        soundfile.LibsndfileError
            If they cannot be decoded.
        """
        frames = max(0, min(frames, self.frames - first))
        try:
            samples = self._seek_and_read(first, frames)
        except soundfile.LibsndfileError:
            samples = torch.zeros(0, self.channels)
        if len(samples) == frames:
            return samples
        with self._again() as again:
            again._skip(first)
            return again._read(frames)

    def _seek_and_read(self, first: int, frames: int) -> Tensor:
        if self.subtype != "VORBIS":
            self.seek(first)
            return self._read(frames)
        # where libsndfile loses its place when it seeks again, or into the last page
        begin = min(first, max(0, self.frames - _VORBIS_PAGE))
        with self._again() as again:
            again.seek(begin)
            again._skip(first - begin)
            return again._read(frames)

    def _again(self) -> SoundFile:
        source = self.name
        if not isinstance(source, str | bytes):
            source.seek(0)
        return SoundFile(source)

    def _read(self, frames: int) -> Tensor:
        return torch.from_numpy(self.read(frames, dtype="float32", always_2d=True))

    def _skip(self, frames: int) -> int:
        """Decode and drop samples; say how many there were."""
        done = 0
        while done < frames and (found := len(self._read(min(_BLOCK, frames - done)))):
            done += found
        return done


# what stands in libsndfile's log of a header that promises more bytes than there are
_PROMISE = re.compile(r"(\d+) \(?should be (\d+)")
_TRUNCATED = re.compile("(?i)seems to be (a )?truncated")
# behind the samples of a WAV file, where a chunk would begin
_NO_CHUNK = re.compile(r"Unknown chunk marker .* at position (\d+)\. Exiting")
# of the NIST SPHERE header, which is text
_NIST_COUNT = re.compile(rb"sample_count -i (\d+)")
# bytes of an Ogg stream's largest page, of a page's header, and where its flags stand in it
_PAGE, _PAGE_HEADER, _PAGE_FLAGS = 65307, 27, 5
_PAGE_IS_LAST = 4


def check_complete(path: str | Path, file: SoundFile) -> None:
    """Make sure that a file holds what its header promises, without decoding all of it.

    Sizes that a writer left open, since it could not seek back, promise nothing. What AVR, IRCAM,
    MATLAB 5, PAF and PVF files promise is not read: IRCAM's header has no length.

    Parameters
    ----------
    path : str or Path
        The file's name.
    file : SoundFile
        Opened.

    Raises
    ------
    ValueError
        If it is truncated, or its header says that it holds no samples where bytes stand behind.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.au"
    >>> soundfile.write(path, torch.zeros(8000).numpy(), 16000)
    >>> _ = path.write_bytes(path.read_bytes()[:1000])
    >>> with SoundFile(path) as file:
    ...     check_complete("a.au", file)
    Traceback (most recent call last):
    ...
    ValueError: a.au is truncated: its header promises 16000 bytes, there are 976
    """
    log, kind = file.extra_info, file.format
    promises = [tuple(map(int, found)) for found in _PROMISE.findall(log)]
    for promised, there in promises:
        # one byte of padding may be missing
        if promised - 1 > there and not _left_open(promised, kind):
            raise ValueError(
                f"{path} is truncated: its header promises {promised} bytes, there are {there}"
            )
    if not promises and _TRUNCATED.search(log):
        raise ValueError(f"{path} is truncated: there is less than its header promises")
    if kind == "OGG":
        _check_last_page(Path(path))
    if kind in ("WAV", "WAVEX", "RF64"):
        _check_behind(Path(path), log, file.frames)
    frames = _promised_frames(Path(path), file)
    if frames and not _has_sample(file, frames - 1):
        raise ValueError(
            f"{path} is truncated: its header promises {frames} samples, the last is missing"
        )


def _left_open(size: int, kind: str) -> bool:
    """Tell the sizes that writers leave in a header which they cannot go back to."""
    if kind in ("RF64", "W64"):  # of 64 bits
        return size >= _OPEN_END
    # all bits, or all but the sign's, rounded down, less or more a header
    return abs(size - 0x7FFFF000) <= 0x2000 or size >= 0xFFFFFFFF - 0x2000


def _check_last_page(path: Path) -> None:
    """Raise where an Ogg stream ends inside a page, and warn where more pages should follow."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2 * _PAGE))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    header, rest = page[:_PAGE_HEADER], page[_PAGE_HEADER:]
    segments = header[-1] if len(header) == _PAGE_HEADER else len(rest) + 1
    if len(rest) < segments or len(rest) < segments + sum(rest[:segments]):
        raise ValueError(f"{path} is truncated: its last page is not whole")
    if not header[_PAGE_FLAGS] & _PAGE_IS_LAST:
        logger.warning("%s: its last page is not marked as the end: is there more?", path)


def _check_behind(path: Path, log: str, frames: int) -> None:
    """Look at what stands behind the samples of a WAV file: chunks, or what nobody reads."""
    found = _NO_CHUNK.search(log)
    if found is None:
        return
    behind = path.stat().st_size - int(found[1])
    if frames == 0:
        raise ValueError(f"{path} holds no samples by its header, which {behind} bytes follow")
    logger.warning("%s: %d bytes behind its %d samples are not read", path, behind, frames)


def _promised_frames(path: Path, file: SoundFile) -> int:
    if file.format == "NIST":
        with path.open("rb") as content:
            found = _NIST_COUNT.search(content.read(1024))
        if found:
            return int(found[1])
    return file.frames


def _has_sample(file: SoundFile, number: int) -> bool:
    try:
        return len(file.read_from(number, 1)) == 1
    except soundfile.LibsndfileError:
        return False
