"""What the precision `auto` stands for: bf16 where the device multiplies it itself, else float32.

Without such instructions torch multiplies bf16 many times slower than float32.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

logger = logging.getLogger(__name__)

AUTO = "auto"
# of torch.cpu.get_capabilities: x86's instructions, and ARM's
CPU_FLAGS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def multiplies_bf16(device: str | torch.device) -> tuple[bool, str]:
    """Check whether a device multiplies bf16 itself.

    Parameters
    ----------
    device : str or torch.device
        As torch takes it.

    Returns
    -------
    bool
        Whether it does.
    str
        How one knows, as half a sentence.

    Examples
    --------
    >>> multiplies_bf16("meta")
    (False, 'meta is not known to multiply bf16 itself')
    """
    device = torch.device(device)
    if device.type == "cuda":
        with torch.cuda.device(device):
            name = torch.cuda.get_device_name()
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return True, f"{name} multiplies bf16 itself"
        return False, f"{name} does not multiply bf16 itself"
    if device.type != "cpu":
        return False, f"{device.type} is not known to multiply bf16 itself"
    known = torch.cpu.get_capabilities()
    flags = [flag for flag in CPU_FLAGS if known.get(flag)]
    if flags and torch.backends.mkldnn.is_available():  # it is what uses the instructions
        return True, f"this processor multiplies bf16 itself ({', '.join(flags)})"
    return False, "this processor, or this torch on it, does not multiply bf16 itself"


def settle_precision(
    precision: str, device: str | torch.device, tell: Callable[[str], None] = logger.info
) -> str:
    """Return the precision that a name stands for on a device, and say why.

    Another name than `auto` stands for itself; of bf16 that is slow there one warning is logged.

    Parameters
    ----------
    precision : str
        SpeechBrain's names, and `auto`.
    device : str or torch.device
        As torch takes it.
    tell : Callable
        Is given the line about what `auto` stands for.

    Returns
    -------
    str
        One of SpeechBrain's names.

    Examples
    --------
    >>> settle_precision("fp32", "cpu")
    'fp32'
    >>> settle_precision("auto", "meta", print)
    precision fp32: meta is not known to multiply bf16 itself
    'fp32'
    """
    if precision not in (AUTO, "bf16"):
        return precision
    is_own, reason = multiplies_bf16(device)
    if precision == AUTO:
        precision = "bf16" if is_own else "fp32"
        tell(f"precision {precision}: {reason}")
    elif not is_own:
        logger.warning("precision bf16 may be slower than fp32 or auto: %s", reason)
    return precision
