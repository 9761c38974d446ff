"""Memory of files that are mapped into it."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor


def drop_pages(tensor: Tensor) -> None:
    """Give back the memory that a mapped tensor's values took when they were read.

    They are read from the file again if they are asked for. Only for tensors of a checkpoint that
    was opened with ``torch.load(mmap=True)`` and not changed since: in any other memory the values
    would be lost. Without effect where the kernel is not Linux.

    Parameters
    ----------
    tensor : Tensor
        Mapped from a file.
    """
    if sys.platform != "linux":
        return
    storage = tensor.untyped_storage()
    # whole pages only: those at both ends belong to neighbours too
    begin = -(-storage.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = (storage.data_ptr() + storage.nbytes() - begin) // mmap.PAGESIZE * mmap.PAGESIZE
    if size > 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(size), mmap.MADV_DONTNEED)
