"""What users may pass, checked with messages that name value and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wavcube.data.resampling import resample
from wavcube.lobes.lengths import length_mask, to_absolute

# a batch of many waveforms of so few samples is a recording whose channels come last
MOST_CHANNELS = 8


def device_name(device: str | int | torch.device) -> str:
    """Spell a device as SpeechBrain expects it.

    Parameters
    ----------
    device : str, int or torch.device
        As torch takes it.

    Returns
    -------
    str
        A CUDA device always with its index.

    Raises
    ------
    ValueError
        If torch does not know the device, or this machine does not have it.

    Examples
    --------
    >>> device_name(torch.device("cpu"))
    'cpu'
    """
    try:
        parsed = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device {device!r} is unknown: {error}") from error
    if parsed.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {device!r}: no CUDA GPU is usable here; take 'cpu'")
        index = torch.cuda.current_device() if parsed.index is None else parsed.index
        if index >= torch.cuda.device_count():
            raise ValueError(f"device {device!r}: this machine has {torch.cuda.device_count()}")
        return f"cuda:{index}"
    if parsed.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"device {device!r}: there is none here; take 'cpu'")
    return str(parsed)


#: what is taken for waveforms
Waveforms = Tensor | np.ndarray | Sequence[Tensor] | Sequence[np.ndarray]


def check_waveforms(
    wavs: Waveforms, wav_lens: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Move waveforms to a device as float32 `[B, T]`, after looking at every valid sample.

    Parameters
    ----------
    wavs : Tensor, array or list of them
        `[B, T]`, or `[T]` for one; a list of `[T]` of any lengths is padded.
    wav_lens : Tensor, optional
        Relative lengths `[B]`; not with a list.
    device : torch.device
        Where the model is.

    Returns
    -------
    tuple of Tensor
        Both, on the device.

    Raises
    ------
    TypeError
        If they are no numbers, such as a file's name.
    ValueError
        If there are channels, integers, no samples, lengths outside (0, 1] or values that are not
        finite.

    Examples
    --------
    >>> check_waveforms(torch.zeros(1, 2, 100), None, torch.device("cpu"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: waveforms must be [batch, time] (mono), got [1, 2, 100]: average the channels...
    """
    if isinstance(wavs, list | tuple) and wav_lens is None and len(wavs):
        wavs, wav_lens = _padded([_as_tensor(wav) for wav in wavs])
    wavs = _as_tensor(wavs)
    if wavs.dim() == 1:
        wavs = wavs[None]
    if wavs.dim() != 2:
        raise ValueError(
            f"waveforms must be [batch, time] (mono), got {list(wavs.shape)}: average the channels "
            "first, as wavs.mean(1)"
        )
    if wavs.shape[1] <= MOST_CHANNELS < len(wavs):
        raise ValueError(
            f"waveforms {list(wavs.shape)} look like [time, channels], and [batch, time] is meant: "
            "average the channels first, as wavs.mean(1)"
        )
    if not wavs.is_floating_point():
        raise ValueError(
            f"waveforms must be floating point in -1 to 1, got {wavs.dtype}: divide integers by "
            "their full scale"
        )
    if not wavs.numel():
        raise ValueError(f"waveforms {list(wavs.shape)} hold no samples; at least 1 is needed")
    wavs = wavs.to(device, torch.float32)
    lens = relative_lengths(wav_lens, device)
    samples = to_absolute(lens, wavs.shape[1], len(wavs), device)
    check_finite(wavs, samples, "waveform", "sample")
    return wavs, lens


def _as_tensor(wavs: Any) -> Tensor:  # noqa: ANN401 - what users may pass
    if wavs is None or isinstance(wavs, str | bytes | PathLike):
        raise TypeError(
            f"waveforms must be numbers, got {wavs!r}: methods that end in _file take a file, as "
            "encode_file"
        )
    if isinstance(wavs, np.ndarray):
        # torch takes neither strides below 0 (wav[::-1]) nor the other order of bytes
        wavs = np.ascontiguousarray(wavs, wavs.dtype.newbyteorder("="))
    return torch.as_tensor(wavs)


def _padded(wavs: list[Tensor]) -> tuple[Tensor | list[Tensor], Tensor | None]:
    """Make a batch of waveforms; what is not a list of them stays as it is."""
    if any(wav.dim() != 1 for wav in wavs):
        return wavs, None
    sizes = torch.tensor([len(wav) for wav in wavs])
    return torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True), sizes / sizes.max()


def whole_rate(rate: Any) -> int:  # noqa: ANN401 - what users may pass
    """Give a sample rate as a plain whole number.

    Parameters
    ----------
    rate : int or float
        In Hz; 16000.0 is taken.

    Raises
    ------
    ValueError
        If it is not a positive whole number.

    Examples
    --------
    >>> whole_rate(16000.0)
    16000
    """
    number = isinstance(rate, Integral | float | np.floating) and not isinstance(rate, bool)
    if not number or rate < 1 or rate % 1 != 0:
        raise ValueError(f"sample rate {rate!r} is not a positive whole number of Hz")
    return int(rate)


def relative_lengths(lens: Tensor | None, device: torch.device) -> Tensor | None:
    """Move relative lengths `[B]` to a device; None stays None."""
    return None if lens is None else torch.as_tensor(lens, dtype=torch.float32, device=device)


def whole_lengths(
    length: int | Sequence[int] | Tensor | np.ndarray | None,
) -> int | list[int] | None:
    """Give lengths in samples as plain whole numbers.

    Parameters
    ----------
    length : int, sequence of int, Tensor or array, optional
        One, or one for each item; None stays None.

    Returns
    -------
    int or list of int or None
        The same.

    Raises
    ------
    ValueError
        If one is not a whole number.

    Examples
    --------
    >>> whole_lengths(torch.tensor([1000, 500]))
    [1000, 500]
    >>> whole_lengths(0.5)
    Traceback (most recent call last):
    ...
    ValueError: length must be a whole number of samples, or one for each item, got 0.5
    """
    plain = length.tolist() if isinstance(length, Tensor | np.ndarray) else length
    parts = plain if isinstance(plain, Sequence) else [] if plain is None else [plain]
    # True would be a length of 1
    if not all(isinstance(part, Integral) and not isinstance(part, bool) for part in parts):
        raise ValueError(
            f"length must be a whole number of samples, or one for each item, got {length!r}"
        )
    return list(plain) if isinstance(plain, Sequence) else plain


def check_finite(values: Tensor, lengths: Tensor, what: str, unit: str) -> None:
    """Raise a ValueError at the first value within an item's length that is not finite.

    Parameters
    ----------
    values : Tensor
        `[B, T]` or `[B, T, D]`.
    lengths : Tensor
        Valid positions `[B]`.
    what, unit : str
        Names of an item and a position, for the message.

    Examples
    --------
    >>> check_finite(torch.tensor([[0.0, float("nan")]]), torch.tensor([2]), "waveform", "sample")
    Traceback (most recent call last):
    ...
    ValueError: waveform 0 is NaN or infinite at sample 1
    """
    bad = ~torch.isfinite(values)
    if bad.dim() == 3:
        bad = bad.any(dim=2)
    bad &= length_mask(lengths, values.shape[1])
    if bool(bad.any()):
        item, place = bad.nonzero()[0].tolist()
        raise ValueError(f"{what} {item} is NaN or infinite at {unit} {place}")


def check_latents(
    latents: Tensor, width: int, lens: Tensor | None = None, *, empty: bool = False
) -> None:
    """Raise a ValueError unless these are latents of a width, finite within each item's length.

    Parameters
    ----------
    latents : Tensor
        `[B, N, D]`.
    width : int
        The D that is wanted.
    lens : Tensor, optional
        Relative lengths `[B]`; by default every item fills the batch.
    empty : bool
        Whether there may be none.

    Examples
    --------
    >>> check_latents(torch.zeros(5, 8), 8)
    Traceback (most recent call last):
    ...
    ValueError: latents must be [batch, frames, 8], got [5, 8]
    """
    if latents.dim() != 3 or latents.shape[2] != width or not (empty or latents.numel()):
        raise ValueError(f"latents must be [batch, frames, {width}], got {list(latents.shape)}")
    frames = to_absolute(lens, latents.shape[1], len(latents), latents.device)
    check_finite(latents, frames, "latents", "frame")


def resample_batch(
    wavs: Tensor, wav_lens: Tensor | None, rate: int, target: int
) -> tuple[Tensor, Tensor]:
    """Resample each item by itself, so that its neighbour's padding does not leak into its end.

    Parameters
    ----------
    wavs : Tensor
        `[B, T]`.
    wav_lens : Tensor, optional
        Relative lengths `[B]`.
    rate, target : int
        In Hz.

    Returns
    -------
    wavs : Tensor
        `[B, T']`, zero in the padding.
    wav_lens : Tensor
        Relative lengths `[B]`.

    Examples
    --------
    >>> wavs, lens = resample_batch(torch.zeros(2, 80), torch.tensor([1.0, 0.5]), 8000, 16000)
    >>> wavs.shape, lens
    (torch.Size([2, 160]), tensor([1.0000, 0.5000]))
    """
    samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device).tolist()
    parts = [resample(wav[:count], rate, target) for wav, count in zip(wavs, samples, strict=True)]
    sizes = torch.tensor([len(part) for part in parts], device=wavs.device)
    padded = torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
    return padded, sizes / padded.shape[1]
