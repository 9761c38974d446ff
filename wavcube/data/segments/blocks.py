"""Gzip that can be read from the middle: BGZF, many small members with their sizes.

Any gzip tool reads such a file, and htslib's `bgzip` writes it too. A place in it is a virtual
offset: 48 bits of where a block begins, 16 bits within its data. Source: the SAM format
specification, section 4.1, https://samtools.github.io/hts-specs/SAMv1.pdf.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

__all__ = ["BlockWriter", "is_blocked", "iterate_lines", "read_line"]

_HEADER = struct.Struct("<4BI2BH2B2H")
_FIXED = (0x1F, 0x8B, 8, 4, 0, 0, 255, 6, ord("B"), ord("C"), 2)
# of data in a block, so that a compressed one stays below 64 KiB whatever it holds
_BLOCK = 65280
_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class BlockWriter:
    r"""Write lines to a BGZF file.

    Parameters
    ----------
    file : BinaryIO
        Open for writing. :meth:`close` writes the last block and leaves it open.

    Examples
    --------
    >>> import gzip, io
    >>> file = io.BytesIO()
    >>> writer = BlockWriter(file)
    >>> writer.write(b"one\n"), writer.write(b"two\n")
    (0, 4)
    >>> writer.close()
    >>> gzip.decompress(file.getvalue())
    b'one\ntwo\n'
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = bytearray()
        self._start = 0

    def write(self, line: bytes) -> int:
        """Write a line and return its virtual offset.

        Parameters
        ----------
        line : bytes
            With its end.
        """
        place = self._start << 16 | len(self._data)
        self._data += line
        while len(self._data) >= _BLOCK:
            self._flush(_BLOCK)
        return place

    def close(self) -> None:
        """Write what is left, and the mark of the file's end."""
        if self._data:
            self._flush(len(self._data))
        self._file.write(_END)

    def _flush(self, size: int) -> None:
        data = bytes(self._data[:size])
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(data) + packer.flush()
        total = _HEADER.size + len(packed) + 8
        self._file.write(_HEADER.pack(*_FIXED, total - 1))
        self._file.write(packed + struct.pack("<2I", zlib.crc32(data), len(data)))
        self._start += total
        del self._data[:size]


def is_blocked(path: str | Path) -> bool:
    """Tell whether a file is BGZF.

    Parameters
    ----------
    path : str or Path
        Of a file.
    """
    with Path(path).open("rb") as file:
        return _size_of(file.read(_HEADER.size)) is not None


def iterate_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Go through a BGZF file's lines.

    Parameters
    ----------
    path : str or Path
        Of the file.

    Yields
    ------
    int, bytes
        Virtual offset and line, with its end.

    Raises
    ------
    ValueError
        If a block is damaged, or the file was cut short.
    """
    place, rest = 0, b""
    with Path(path).open("rb") as file:
        while True:
            start = file.tell()
            data = _read_block(file, path)
            if not data:
                break
            lines = (rest + data).split(b"\n")
            offset = -len(rest)  # of the line, in this block
            for line in lines[:-1]:
                yield (place if offset < 0 else start << 16 | offset), line + b"\n"
                offset += len(line) + 1
            rest = lines[-1]
            if offset >= 0:
                place = start << 16 | offset
    if rest:
        yield place, rest


def read_line(path: str | Path, place: int) -> bytes:
    """Read one line.

    Parameters
    ----------
    path : str or Path
        Of a BGZF file.
    place : int
        Virtual offset of its first byte.

    Raises
    ------
    ValueError
        If there is no block, or a damaged one.
    """
    with Path(path).open("rb") as file:
        file.seek(place >> 16)
        data = _read_block(file, path)[place & 0xFFFF :]
        while b"\n" not in data:
            more = _read_block(file, path)
            if not more:
                return data
            data += more
    return data[: data.index(b"\n") + 1]


def _size_of(header: bytes) -> int | None:
    """Give the size of the block that begins so; None if none does."""
    if len(header) < _HEADER.size:
        return None
    *fixed, size = _HEADER.unpack(header)
    # the time of writing, extra flags and the system may be anything
    same = (*fixed[:4], *fixed[7:]) == (*_FIXED[:4], *_FIXED[7:])
    return size + 1 if same else None


def _read_block(file: BufferedReader, path: str | Path) -> bytes:
    """Read the data of the next block that holds any; none at the file's end."""
    while True:
        start = file.tell()
        header = file.read(_HEADER.size)
        size = _size_of(header)
        if size is None and len(header) == _HEADER.size:
            raise ValueError(f"{path}, byte {start}: it is damaged, no block of BGZF begins here")
        body = b"" if size is None else file.read(size - len(header))
        if size is None or len(header) + len(body) != size:
            raise ValueError(f"{path} was cut short at byte {start}: copy it again")
        try:
            data = zlib.decompress(body[:-8], -15)
        except zlib.error as error:
            raise ValueError(f"{path}, byte {start}: it is damaged ({error})") from error
        if struct.unpack("<2I", body[-8:]) != (zlib.crc32(data), len(data)):
            raise ValueError(f"{path}, byte {start}: it is damaged, a checksum is wrong")
        # files that were joined have the mark of the end in their middle
        if data or not file.peek(1):
            return data
