"""How a module is being run: what is faster at inference must not get in the way elsewhere."""

from __future__ import annotations

import torch


def is_plain_inference() -> bool:
    """Tell whether operators may be chosen for speed alone.

    Returns
    -------
    bool
        False where gradients are wanted, and where the graph is written down (export, compilation),
        which wants torch's own operators and no loop whose length depends on the input.

    Examples
    --------
    >>> is_plain_inference()
    False
    >>> with torch.no_grad():
    ...     is_plain_inference()
    True
    """
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing())
