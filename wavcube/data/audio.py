"""Audio files in and out: mono float32 waveforms, and clear errors for whatever is wrong."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType

import soundfile
import torch
from speechbrain.dataio.audio_io import AudioInfo
from torch import Tensor

from wavcube.data.checks import check_waveforms
from wavcube.data.resampling import ResampleStream, resampled_length
from wavcube.data.sound_file import SoundFile, check_complete
from wavcube.lobes.layers.level import Level
from wavcube.utils.files import atomic_file

__all__ = [
    "inspect_audio",
    "read_audio",
    "write_audio",
]

logger = logging.getLogger(__name__)

_STDERR = 2
# the descriptor belongs to the process: one thread at a time may turn it away and back
_LOCK = threading.Lock()


@contextmanager
def quiet_c_library() -> Iterator[None]:
    """Drop what is written to the standard error's descriptor meanwhile, whoever writes it.

    libmpg123 writes its own notes there of a file that it cannot read; our one line comes after.
    Errors of Python still reach the caller.

    Examples
    --------
    >>> with quiet_c_library():
    ...     _ = os.write(2, b"never seen")
    """
    with _LOCK:
        try:
            kept = os.dup(_STDERR)
        except OSError:  # a process without a standard error has nothing to keep quiet
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _STDERR)
            yield
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            os.close(nowhere)


# libsndfile's SF_ERR_SYSTEM
_SYSTEM_ERROR = 2
# samples that are looked at together
_BLOCK = 2**20


def inspect_audio(path: str | Path) -> AudioInfo:
    """Read a file's header and prove that its last sample is there, without decoding the rest.

    Parameters
    ----------
    path : str | Path
        An audio file of any format that libsndfile reads.

    Returns
    -------
    AudioInfo
        SpeechBrain's: `sample_rate`, `frames`, `channels`, `subtype`, `format`, `duration`.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is empty, truncated, not audio, or holds no samples; in files of floating-point
        samples also when any of them is NaN or infinite.
    """
    path = Path(path)
    _check_exists(path)
    # not for every format: files that are scanned in several threads would wait for each other
    quiet = quiet_c_library() if path.suffix.lower() == ".mp3" else nullcontext()
    try:
        with quiet, SoundFile(path) as file:
            check_complete(path, file)
            info = AudioInfo(file.samplerate, file.frames, file.channels, file.subtype, file.format)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is not an audio file that libsndfile can read") from error
    if info.frames == 0:
        raise ValueError(f"{path} holds no samples")
    if info.subtype in ("FLOAT", "DOUBLE"):
        _check_all_finite(path, info.frames)
    return info


def read_audio(path: str | Path, sample_rate: int) -> Tensor:
    """Read a whole file as a mono waveform at the given rate.

    Several channels are averaged and other rates resampled, which is logged at level INFO.

    Parameters
    ----------
    path : str | Path
        An audio file.
    sample_rate : int
        Wanted, in Hz.

    Returns
    -------
    Tensor
        `[T]`, float32.

    Raises
    ------
    FileNotFoundError, ValueError
        As in `inspect_audio`; NaN and infinite samples are always found.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "stereo.wav"
    >>> soundfile.write(path, torch.zeros(8000, 2).numpy(), 8000)
    >>> read_audio(path, 16000).shape
    torch.Size([16000])
    """
    return LongAudio(path, sample_rate).read()


class _Mixdown:
    """Average channels, and say what a listener would wonder about."""

    # of the loudest channel's power: one of two channels that is dead leaves a quarter
    QUIET = 0.1
    # music may pass 1 by a little; what passes this was never divided by its full scale
    LOUD = 8.0

    def __init__(self, path: Path) -> None:
        self.path, self.told = path, False
        self._channels, self._mean, self._peak = torch.zeros(1, dtype=torch.float64), 0.0, 0.0

    def add(self, wav: Tensor) -> Tensor:
        """Take `[T, C]` and give `[T]`."""
        mono = wav.mean(dim=1)
        self._peak = max(self._peak, float(wav.abs().max()))
        if wav.shape[1] > 1:
            self._channels = self._channels + wav.double().square().sum(dim=0)
            self._mean += float(mono.double().square().sum())
        return mono

    def tell(self) -> None:
        """Warn once, after the last sample."""
        if self.told:
            return
        self.told = True
        if self._mean < self.QUIET * float(self._channels.max()):
            logger.warning(
                "%s: the mean of its %d channels is far quieter than one of them: they are of "
                "opposite phase, or dead; choose one",
                self.path,
                len(self._channels),
            )
        if self._peak > self.LOUD:
            logger.warning("%s: its peak is %.4g, where full scale is 1", self.path, self._peak)


def _decode(path: Path, frames: int, block: int) -> Iterator[Tensor]:
    """Decode all samples from the first to the last, as blocks `[T, C]`."""
    done = 0
    try:
        with SoundFile(path) as file:
            while len(read := file.read(block, dtype="float32", always_2d=True)):
                done += len(read)
                yield torch.from_numpy(read)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is damaged: it cannot be decoded to its end") from error
    if done != frames:
        raise ValueError(
            f"{path} is truncated: its header promises {frames} samples, there are {done}"
        )


def write_audio(path: str | Path, wav: Tensor, sample_rate: int) -> None:
    """Write a mono waveform; the file appears under its name only when it is complete.

    Parameters
    ----------
    path : str | Path
        Its suffix chooses the format, for example ".wav" or ".flac" (16 bits). Missing folders
        are made.
    wav : Tensor
        `[T]`, from -1 to 1; what lies beyond is clipped and logged.
    sample_rate : int
        In Hz.

    Raises
    ------
    ValueError
        When `wav` is not a mono waveform of finite samples, or libsndfile does not write files
        with this suffix at this rate.
    OSError
        When the file cannot be written, for example on a full disk.
    """
    path = Path(path)
    if wav.dim() != 1:
        raise ValueError(f"a mono waveform has shape [T], not {list(wav.shape)}")
    wav = check_waveforms(wav.detach(), None, torch.device("cpu"))[0][0]
    if path.suffix[1:].upper() not in soundfile.available_formats():
        raise ValueError(f"{path}: no format is known for the suffix {path.suffix!r}; use .wav")
    clipped = int((wav.abs() > 1).sum())
    if clipped:
        logger.info("%s: %d samples clipped", path, clipped)
    with atomic_file(path, overwrite=True) as draft:
        _save(draft, path, wav, sample_rate)


def _save(draft: Path, path: Path, wav: Tensor, sample_rate: int) -> None:
    """Write under the temporary name; errors name the final one."""
    subtype = "PCM_16" if path.suffix.lower() in (".wav", ".flac") else None
    try:
        draft.touch()  # libsndfile hides why a file cannot be made
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with SoundFile(draft, "w", sample_rate, 1, subtype) as file:
            file.write(wav.clamp(-1.0, 1.0).numpy())
    except TypeError as error:  # a format that soundfile cannot write by name alone
        raise ValueError(f"cannot write {path}: {error}") from error
    except soundfile.LibsndfileError as error:
        if error.code == _SYSTEM_ERROR:  # libsndfile's only word on a full disk
            raise OSError(f"cannot write {path}: is the disk full?") from error
        reason = error.error_string
        raise ValueError(f"cannot write {path} at {sample_rate} Hz: {reason}") from error


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"there is no audio file {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not an audio file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes)")
    try:
        path.open("rb").close()  # libsndfile hides why a file cannot be opened
    except OSError as error:
        raise type(error)(f"cannot read {path}: {error.strerror}") from error


def _check_all_finite(path: Path, frames: int) -> None:
    """Look at every sample, a block of them in memory at a time."""
    bad = total = 0
    for block in _decode(path, frames, _BLOCK):
        bad, total = bad + block.numel() - int(block.isfinite().sum()), total + block.numel()
    if bad:
        raise ValueError(f"{path}: {bad} of {total} samples are NaN or infinite")


# seconds that are read at once
BLOCK = 10


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
        self._mixdown = _Mixdown(self.path)
        if self.info.channels > 1:
            logger.info("%s: %d channels averaged to one", path, self.info.channels)
        if self.info.sample_rate != sample_rate:
            logger.info("%s: resampled from %d to %d Hz", path, self.info.sample_rate, sample_rate)

    @property
    def num_samples(self) -> int:
        """Samples at the wanted rate."""
        return resampled_length(self.info.frames, self.info.sample_rate, self.sample_rate)

    def level(self) -> Level:
        """Measure mean and variance of the whole."""
        return Level.of_chunks(self.blocks())

    def read(self) -> Tensor:
        """Give the whole recording, `[T]`."""
        return torch.cat(list(self.blocks()))

    def blocks(self) -> Iterator[Tensor]:
        """Give the recording as blocks `[T]`, in order.

        Raises
        ------
        ValueError
            If the file is damaged or ends early, or holds samples that are not finite.
        """
        rate = self.info.sample_rate
        if rate == self.sample_rate:
            yield from self._read()
            return
        stream = ResampleStream(rate, self.sample_rate)
        for block in self._read():
            yield stream.push(block)
        yield stream.flush()

    def _read(self) -> Iterator[Tensor]:
        done = 0
        for read in _decode(self.path, self.info.frames, BLOCK * self.info.sample_rate):
            block = self._mixdown.add(read)
            self._check(block, done)
            done += len(block)
            yield block
        self._mixdown.tell()

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
            self._file = SoundFile(draft, "w", self.sample_rate, 1, "PCM_16")
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
