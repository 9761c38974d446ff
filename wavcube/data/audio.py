"""Audio files in and out: mono float32 waveforms, and clear errors for whatever is wrong."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import soundfile
import torch
import torchaudio
from speechbrain.dataio import audio_io
from speechbrain.dataio.audio_io import AudioInfo
from torch import Tensor

from wavcube.data.checks import check_waveforms
from wavcube.data.quiet import quiet_c_library
from wavcube.utils.atomic import atomic_file

__all__ = ["inspect_audio", "read_audio", "write_audio"]

logger = logging.getLogger(__name__)

# A writer that could not seek back leaves about this (or 0) as the size in a RIFF header.
_UNKNOWN_SIZE = 0x7FFFF000
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
        with quiet, soundfile.SoundFile(path) as file:
            info = AudioInfo(file.samplerate, file.frames, file.channels, file.subtype, file.format)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is not an audio file that libsndfile can read") from error
    if info.frames == 0:
        raise ValueError(f"{path} holds no samples")
    _check_complete(path, info)
    if info.subtype in ("FLOAT", "DOUBLE"):
        _check_all_finite(path)
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
    >>> audio_io.save(path, torch.zeros(2, 8000), 8000)
    >>> read_audio(path, 16000).shape
    torch.Size([16000])
    """
    path = Path(path)
    info = inspect_audio(path)
    try:
        wav, rate = audio_io.load(path, dtype=torch.float32)
    except RuntimeError as error:
        raise ValueError(f"{path} is damaged: it cannot be decoded to its end") from error
    if wav.shape[1] != info.frames:
        raise ValueError(_truncated(path, info.frames, wav.shape[1]))
    _check_finite(str(path), wav)
    if len(wav) > 1:
        logger.info("%s: %d channels averaged to one", path, len(wav))
    wav = wav.mean(dim=0)
    if rate != sample_rate:
        logger.info("%s: resampled from %d to %d Hz", path, rate, sample_rate)
        wav = torchaudio.functional.resample(wav, rate, sample_rate)
    return wav.contiguous()


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
        audio_io.save(draft, wav, sample_rate, subtype=subtype)
    except RuntimeError as error:
        cause = error.__cause__
        if isinstance(cause, TypeError):  # a format that soundfile cannot write by name alone
            raise ValueError(f"cannot write {path}: {cause}") from error
        if isinstance(cause, OSError):
            raise OSError(cause.errno, cause.strerror, str(path)) from error
        if not isinstance(cause, soundfile.LibsndfileError):
            raise
        if cause.code == _SYSTEM_ERROR:  # libsndfile's only word on a full disk
            raise OSError(f"cannot write {path}: is the disk full?") from error
        reason = cause.error_string
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


def _check_complete(path: Path, info: AudioInfo) -> None:
    """Raise when the header promises more than there is."""
    with path.open("rb") as file:
        header = file.read(8)
    orders: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"FORM": "big"}
    order = orders.get(header[:4])
    if order is not None:
        # libsndfile silently cuts the promise down to what it finds in these two formats
        promised = int.from_bytes(header[4:], order) + len(header)
        size = path.stat().st_size
        # one byte of padding may be missing
        if promised - 1 > size and promised < _UNKNOWN_SIZE:
            raise ValueError(
                f"{path} is truncated: its header promises {promised} bytes, there are {size}"
            )
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(info.frames - 1)
            found = len(file.read(1))
    except soundfile.LibsndfileError as error:
        raise ValueError(_truncated(path, info.frames, None)) from error
    if not found:
        raise ValueError(_truncated(path, info.frames, None))


def _truncated(path: Path, promised: int, found: int | None) -> str:
    there = "the last is missing" if found is None else f"there are {found}"
    return f"{path} is truncated: its header promises {promised} samples, {there}"


def _check_all_finite(path: Path) -> None:
    """Look at every sample, a block of them in memory at a time."""
    blocks = soundfile.blocks(path, _BLOCK, dtype="float32", always_2d=True)
    bad = total = 0
    for block in map(torch.from_numpy, blocks):
        bad, total = bad + block.numel() - int(block.isfinite().sum()), total + block.numel()
    if bad:
        raise ValueError(f"{path}: {bad} of {total} samples are NaN or infinite")


def _check_finite(name: str, wav: Tensor) -> None:
    bad = wav.numel() - int(wav.isfinite().sum())
    if bad:
        raise ValueError(f"{name}: {bad} of {wav.numel()} samples are NaN or infinite")
