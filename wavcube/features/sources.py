"""What features are extracted from: manifests of any kind, and folders of audio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from wavcube.data.audio import inspect_audio
from wavcube.data.scan import find_audio
from wavcube.data.segments import Segment, Segments, is_segments, open_segments
from wavcube.data.segments.identity import hash_rows


class AudioFolder(Segments):
    """The wav and flac files of a folder as segments, whose durations nobody has looked up.

    Parameters
    ----------
    folder : Path
        Searched with its subfolders. A file's id is its path in there, without the suffix.

    Raises
    ------
    ValueError
        If there is no audio in it, or two files have one id.
    """

    def __init__(self, folder: Path) -> None:
        rows = _FolderRows(folder)
        unknown = np.zeros(len(rows.paths))
        groups = np.zeros(len(rows.paths), np.uint32)
        super().__init__(rows, unknown.astype(np.float32), unknown, groups)

    def read(self, number: int, sample_rate: int) -> Tensor:
        """Read a file, see the base class; one that was cut short is an error."""
        # a manifest's duration would tell; here only the file's own header can
        inspect_audio(self[number].path)
        return super().read(number, sample_rate)


class _FolderRows:
    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = folder, find_audio(folder)
        self.ids = [path.relative_to(folder).with_suffix("").as_posix() for path in self.paths]
        first: dict[str, Path] = {}
        for name, path in zip(self.ids, self.paths, strict=True):
            if first.setdefault(name, path) != path:
                raise ValueError(
                    f"{first[name]} and {path} would both be {name!r}: take one away, or give a "
                    "manifest with ids of their own"
                )

    def row(self, number: int) -> Segment:
        return Segment(self.ids[number], 0.0, str(self.paths[number]))

    @property
    def content_hash(self) -> str:
        return hash_rows(map(self.row, range(len(self.ids))), self.folder)


def open_source(
    path: str | Path, root: str | Path | None = None, progress: bool = False
) -> Segments:
    """Open what features are to be extracted from.

    Parameters
    ----------
    path : str or Path
        A manifest or a folder of tar shards, see :func:`wavcube.data.segments.open_segments`; or a
        folder of audio, see :class:`AudioFolder`.
    root : str or Path, optional
        Relative paths in a manifest are relative to it.
    progress : bool
        Show a bar while an index of a manifest is made.

    Returns
    -------
    Segments
        Its rows; of a folder's files the durations are 0: unknown.

    Raises
    ------
    FileNotFoundError, ValueError, PermissionError
        If there is no such thing, or something is wrong with it.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "deep").mkdir()
    >>> (folder / "deep" / "a.wav").touch()
    >>> open_source(folder)[0].id
    'deep/a'
    """
    path = Path(path)
    if not path.is_dir() or is_segments(path):
        return open_segments(path, root=root, progress=progress)
    return AudioFolder(path)
