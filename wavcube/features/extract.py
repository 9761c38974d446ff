"""Extraction of features from a manifest, as a job that goes on where it stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor
from tqdm import tqdm

from wavcube.data.audio import inspect_audio
from wavcube.data.prepare import as_text, find_audio
from wavcube.data.segments import Segment, Segments, is_segments, open_segments
from wavcube.data.segments.audio import check_bad_fraction
from wavcube.data.segments.row import hash_rows
from wavcube.features.engines import Engine, Processes
from wavcube.features.folder import FeatureFolder
from wavcube.features.shards import (
    INDEX,
    JOB,
    SHARDS,
    Bad,
    Description,
    Form,
    ShardRecord,
    shard_path,
    write_index,
)
from wavcube.features.worker import Task
from wavcube.lobes.layers.linear import has_matrices
from wavcube.representations import LatentRepresentation, Representation
from wavcube.utils.files import locked_folder, remove_drafts

logger = logging.getLogger(__name__)


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
        inner = (path.relative_to(folder).with_suffix("") for path in self.paths)
        self.ids = [as_text(path.as_posix()) for path in inner]
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


_LISTED = 10


def extract(
    source: str | Path,
    folder: str | Path,
    make: Callable[[], Representation] = LatentRepresentation.from_release,
    *,
    form: Form | None = None,
    engine: Engine | None = None,
    data_root: str | Path | None = None,
    max_bad_fraction: float = 0.01,
    retry_bad: bool = False,
    progress: bool = False,
) -> FeatureFolder:
    """Extract the features of all segments of a manifest.

    The bytes of a shard depend on manifest, model and form alone (on one kind of device, with one
    version of torch): not on the engine, the number of processes, or how often the job was killed.
    Shards that are complete are kept; the same call made again writes those that are not.

    Parameters
    ----------
    source : str or Path
        A CSV manifest, JSON lines, a folder of tar shards or of audio.
    folder : str or Path
        Where features go: a new or empty folder, or that of this very job.
    make : Callable
        Loads a frozen representation; of a module, for other processes find it by its name. By
        default the latent of the model of the package; of another release it is
        ``functools.partial(LatentRepresentation.from_release, release)``.
    form : Form, optional
        Size of shards and batches, precision and file format.
    engine : Engine, optional
        Computes the shards: :class:`~wavcube.features.engines.Processes`, by default a single one
        on the CPU, or :class:`~wavcube.features.cluster.RayData`.
    data_root : str or Path, optional
        Relative paths in the manifest are relative to it.
    max_bad_fraction : float
        How many of the segments may be bad before the job stops; bad ones are logged, listed and
        left out.
    retry_bad : bool
        Write shards that lack bad segments again, because their audio was repaired.
    progress : bool
        Show progress bars.

    Returns
    -------
    FeatureFolder
        What was written.

    Raises
    ------
    FileNotFoundError
        If there is no such manifest.
    ValueError
        If the manifest is broken, too many segments are bad, the representation is fine-tuned, a
        fraction is out of range, or the folder holds features of another job, or something else.
    BlockingIOError
        If another process writes to the folder.
    ChildProcessError
        If a worker dies; what it had written stays.
    OSError
        If a file cannot be written, on a full disk for example, or segments cannot be computed, for
        lack of memory; nothing is left half-written.

    Examples
    --------
    >>> from wavcube.data.audio import write_audio
    >>> from wavcube.representations import MelRepresentation
    >>> from wavcube.testing import tone
    >>> tmp = getfixture("tmp_path")
    >>> write_audio(tmp / "speech" / "a.wav", tone(0.1), 16000)
    >>> features = extract(tmp / "speech", tmp / "features", partial(MelRepresentation, 4))
    >>> features["a"].shape
    torch.Size([5, 8])
    """
    check_bad_fraction(max_bad_fraction)
    open_it = partial(open_source, source, data_root)
    folder = Path(folder)
    description = _describe(open_it, make, form or Form(), progress)
    with _claimed(folder, description):
        task = Task(open_it, make, folder, description)
        tally = _Tally(folder, description, max_bad_fraction)
        missing = tally.find_missing(retry_bad)
        if missing:
            tally.forget(missing)
            _write_shards(engine or Processes(), task, missing, tally, progress)
        write_index(folder, tally.records())
    return FeatureFolder(folder)


def _describe(
    open_it: Callable[..., Segments],
    make: Callable[[], Representation],
    form: Form,
    progress: bool,
) -> Description:
    segments = open_it(progress=progress)
    representation = make()
    if not representation.is_frozen:
        raise ValueError(
            f"a model that is fine-tuned from update {representation.unfreeze_at} on has no "
            "features to store: leave unfreeze_at out"
        )
    if form.computed_in != "float32" and not has_matrices(representation):
        raise ValueError(
            f"{type(representation).__name__} has no matrices that could be multiplied in "
            f"{form.computed_in}: leave computed_in (--precision) out"
        )
    states, dim = representation.num_states, representation.dim
    return Description(
        model_hash=representation.model_hash,
        representation=type(representation).__name__,
        sample_rate=representation.sample_rate,
        hop=representation.hop,
        shape=(dim,) if states == 1 else (states, dim),
        manifest_hash=segments.content_hash,
        num_segments=len(segments),
        form=form,
    )


@contextmanager
def _claimed(folder: Path, description: Description) -> Iterator[None]:
    """Let one job alone write to a folder, and none of another kind."""
    _check_free(folder, description)
    with locked_folder(folder):
        _check_free(folder, description)  # a job that was faster may be over by now
        if not (folder / JOB).is_file():
            description.save(folder)
        remove_drafts(folder / SHARDS)  # of a killed job, whose workers may just be ending
        yield


def _check_free(folder: Path, description: Description) -> None:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    content = [path.name for path in found if not path.name.startswith(".")]
    if not content:
        return
    if JOB not in content:
        raise ValueError(f"{folder} holds something else ({content[0]}): choose a new folder")
    if differences := description.differences(Description.load(folder)):
        if all(each.startswith("manifest_hash ") for each in differences):
            differences.append("or an earlier version, which hashed other things, has begun it")
        raise ValueError(
            f"{folder} holds features of another job ({'; '.join(differences)}): choose another "
            "folder, or remove it"
        )


class _Tally:
    """What is there of a job, and how much of it is bad."""

    def __init__(self, folder: Path, description: Description, max_bad_fraction: float) -> None:
        self.folder, self.description = folder, description
        self.max_bad_fraction = max_bad_fraction
        self.bad: list[Bad] = []

    def path(self, number: int) -> Path:
        return shard_path(self.folder, number, self.description.form.file_format)

    def find_missing(self, retry_bad: bool) -> list[int]:
        """List the shards to write, and count the bad segments of the others."""
        missing = []
        for number in range(self.description.num_shards):
            record = self._load(number)
            if record is None or (record.bad and retry_bad):
                missing.append(number)
            else:
                self._count(record)
        return missing

    def forget(self, numbers: list[int]) -> None:
        """Make shards count as not written; the index goes first, for it would tell of them."""
        (self.folder / INDEX).unlink(missing_ok=True)
        for number in numbers:
            self.path(number).with_suffix(".json").unlink(missing_ok=True)

    def add(self, number: int) -> int:
        """Count a shard that was written now; gives its segments."""
        record = ShardRecord.load(self.path(number))
        for bad in record.bad:
            logger.warning("left out: %s: %s", bad.id, bad.reason)
        self._count(record)
        return len(self.description.members(number))

    def records(self) -> Iterator[ShardRecord]:
        """Read all records, in order."""
        return (
            ShardRecord.load(self.path(number)) for number in range(self.description.num_shards)
        )

    def _load(self, number: int) -> ShardRecord | None:
        try:
            return ShardRecord.load(self.path(number))
        except FileNotFoundError:
            return None
        except ValueError as error:
            logger.warning("%s: it is written again", error)
            return None

    def _count(self, record: ShardRecord) -> None:
        self.bad += record.bad
        total = self.description.num_segments
        if len(self.bad) > self.max_bad_fraction * total:
            shown = "\n  ".join(f"{bad.id}: {bad.reason}" for bad in self.bad[:_LISTED])
            more = f"\n  and {len(self.bad) - _LISTED} more" if len(self.bad) > _LISTED else ""
            raise ValueError(
                f"{len(self.bad)} of {total} segments are bad so far, and at most "
                f"{self.max_bad_fraction:.2%} may be; repair them and try them again (retry_bad, "
                f"--retry-bad), or raise the limit (max_bad_fraction, --max-bad):\n  {shown}{more}"
            )


def _write_shards(
    engine: Engine, task: Task, missing: list[int], tally: _Tally, progress: bool
) -> None:
    total = sum(len(task.description.members(number)) for number in missing)
    done = task.description.num_shards - len(missing)
    if done:
        logger.info("%d of %d shards are there already", done, task.description.num_shards)
    with tqdm(desc="extracting", total=total, unit="segment", disable=not progress) as bar:
        # closed at once when something goes wrong, so that no worker goes on writing
        with closing(engine(task, missing)) as numbers:
            for number in numbers:
                bar.update(tally.add(number))
