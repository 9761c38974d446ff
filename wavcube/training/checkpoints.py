"""Checkpoints that a crash cannot break.

SpeechBrain 1.1.2 writes the marker that makes a folder count as a checkpoint first and the
parameters after it, straight into the final place. A run killed in between leaves a folder that the
next run picks, being the newest, and fails on. Here a checkpoint appears all at once or not at all.
"""

from __future__ import annotations

import logging
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from speechbrain.utils.checkpoints import (
    METAFNAME,
    Checkpoint,
    Checkpointer,
    ckpt_recency,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process, is_distributed_initialized

from wavcube.training.distributed import (
    all_gather,
    rank,
)
from wavcube.utils.files import sync, with_filename

logger = logging.getLogger(__name__)

SAVING, DELETING, REPLACED = "saving-", "deleting-", "replaced-"
FILES_KEY = "files"


class AtomicCheckpointer(Checkpointer):
    """A SpeechBrain Checkpointer whose folders are complete or absent.

    A checkpoint is written into a folder of another name, every file is synced to the disk, the
    marker (with the size of every file) comes last, and one rename puts it in place. Deleting
    renames first, too. What a killed process left behind is ignored when checkpoints are listed and
    cleared away the next time the folder is opened.

    Parameters
    ----------
    checkpoints_dir : str or Path
        Folder of the checkpoints; made if absent.
    recoverables : Mapping, optional
        Objects with state, by name.
    custom_load_hooks, custom_save_hooks : Mapping, optional
        As in SpeechBrain, by the same names.
    allow_partial_load : bool
        Accept a checkpoint that lacks some recoverable.

    Examples
    --------
    >>> import tempfile, torch
    >>> model = torch.nn.Linear(2, 2)
    >>> checkpointer = AtomicCheckpointer(tempfile.mkdtemp(), {"model": model})
    >>> checkpointer.save_and_keep_only({"mel": 0.5}, min_keys=["mel"])
    >>> checkpointer.recover_if_possible(min_key="mel").meta["mel"]
    0.5
    """

    def __init__(
        self,
        checkpoints_dir: str | Path,
        recoverables: Mapping[str, Any] | None = None,
        custom_load_hooks: Mapping[str, Callable] | None = None,
        custom_save_hooks: Mapping[str, Callable] | None = None,
        allow_partial_load: bool = False,
    ) -> None:
        super().__init__(
            checkpoints_dir, recoverables, custom_load_hooks, custom_save_hooks, allow_partial_load
        )
        self._marker: dict[str, Any] = {}
        if if_main_process():
            self._clear_leftovers()

    def add_recoverables(self, recoverables: Mapping[str, Any]) -> None:
        """Register several recoverables; see SpeechBrain's ``add_recoverable``.

        Unlike SpeechBrain's, a checkpoint that lacks one of them is refused with its name.

        Parameters
        ----------
        recoverables : Mapping
            Objects with state, by name.
        """
        for name, recoverable in recoverables.items():
            self.add_recoverable(name, recoverable)

    def save_checkpoint(
        self,
        meta: Mapping[str, Any] | None = None,
        end_of_epoch: bool = True,
        name: str | None = None,
        verbosity: int = logging.INFO,
    ) -> Checkpoint | None:
        """Save every recoverable into a new checkpoint.

        Parameters
        ----------
        meta : Mapping, optional
            Plain values to find the checkpoint by, such as validation scores.
        end_of_epoch : bool
            Whether an epoch has ended; epoch counters and data loaders recover accordingly.
        name : str, optional
            Used in place of the time in the folder's name. A checkpoint of this name is replaced.
        verbosity : int
            Level of the log line.

        Returns
        -------
        Checkpoint or None
            The checkpoint in its final place; None in all but the main process.

        Raises
        ------
        OSError
            If the disk is full or not writable. Nothing is left behind then.
        """
        for recoverable in self.recoverables.values():
            if hasattr(recoverable, "gather_state"):  # every process has a part of it
                recoverable.gather_state()
        try:
            with with_filename(self.checkpoints_dir):
                # The parent class writes into the folder that _new_checkpoint_dirpath names.
                saved = super().save_checkpoint(dict(meta or {}), end_of_epoch, name, logging.DEBUG)
                ddp_barrier()  # some savers write from every process
                if saved is None:
                    return None
                final = saved.path.with_name(saved.path.name.removeprefix(SAVING))
                self._publish(saved.path, final)
        except BaseException:
            if if_main_process():
                self._remove_staging()
            raise
        logger.log(verbosity, "saved checkpoint %s", final)
        files = {key: final / path.name for key, path in saved.paramfiles.items()}
        return Checkpoint(final, saved.meta, files)

    def save_and_keep_only(
        self,
        meta: Mapping[str, Any] | None = None,
        end_of_epoch: bool = True,
        name: str | None = None,
        num_to_keep: int = 1,
        keep_recent: bool = True,
        importance_keys: Sequence[Callable[[Checkpoint], float]] = (),
        max_keys: Sequence[str] = (),
        min_keys: Sequence[str] = (),
        ckpt_predicate: Callable[[Checkpoint], bool] | None = None,
        verbosity: int = logging.INFO,
    ) -> None:
        """Save a checkpoint, then delete the least important ones.

        Parameters
        ----------
        meta, end_of_epoch, name
            See :meth:`save_checkpoint`.
        num_to_keep : int
            Checkpoints to keep for each key.
        keep_recent : bool
            Whether the most recent ones are kept beside the best.
        importance_keys : Sequence of callable
            Further orders; the highest are kept.
        max_keys, min_keys : Sequence of str
            Names in ``meta`` whose highest or lowest values are kept.
        ckpt_predicate : callable, optional
            Only checkpoints for which it is true may be deleted.
        verbosity : int
            See :meth:`save_checkpoint`.

        Raises
        ------
        ValueError
            If a key is not in ``meta`` or is not a finite number. (SpeechBrain then silently keeps
            the last checkpoint instead of the best.)
        """
        meta = dict(meta or {})
        for key in (*max_keys, *min_keys):
            if key not in meta:
                raise ValueError(
                    f"cannot keep the best checkpoint by {key!r}: the scores are {sorted(meta)}"
                )
            if not math.isfinite(meta[key]):
                raise ValueError(f"cannot rank a checkpoint by {key!r} = {meta[key]}")
        self.save_checkpoint(meta, end_of_epoch, name, verbosity)
        self.delete_checkpoints(
            num_to_keep=num_to_keep,
            min_keys=min_keys,
            max_keys=max_keys,
            importance_keys=[*importance_keys, *([ckpt_recency] if keep_recent else [])],
            ckpt_predicate=ckpt_predicate,
            verbosity=verbosity,
        )

    def delete_checkpoints(
        self,
        *,
        num_to_keep: int = 1,
        min_keys: Sequence[str] | None = None,
        max_keys: Sequence[str] | None = None,
        importance_keys: Sequence[Callable[[Checkpoint], float]] = (ckpt_recency,),
        ckpt_predicate: Callable[[Checkpoint], bool] | None = None,
        verbosity: int = logging.INFO,
    ) -> None:
        """Delete what is among the best of no order; see SpeechBrain's Checkpointer.

        Parameters
        ----------
        num_to_keep, min_keys, max_keys, importance_keys, ckpt_predicate, verbosity
            See :meth:`save_and_keep_only`.

        Raises
        ------
        ValueError
            If ``num_to_keep`` is negative.
        """
        if num_to_keep < 0:
            raise ValueError(f"cannot keep {num_to_keep} checkpoints: give 0 or more")
        orders: list[dict[str, Any]] = [{"min_key": key} for key in min_keys or ()]
        orders += [{"max_key": key} for key in max_keys or ()]
        orders += [{"importance_key": key} for key in importance_keys]
        ddp_barrier()  # no process may still be listing or loading
        if if_main_process():  # it alone: what the others list may be going
            ranked = [self.find_checkpoints(ckpt_predicate=ckpt_predicate, **o) for o in orders]
            kept = {ckpt.path for ranking in ranked for ckpt in ranking[:num_to_keep]}
            doomed = {ckpt.path for ranking in ranked for ckpt in ranking} - kept
            for path in sorted(doomed):
                _remove(path)
                logger.log(verbosity, "deleted checkpoint %s", path)
        ddp_barrier()

    def _list_checkpoint_dirs(self) -> list[Path]:
        return [path for path in super()._list_checkpoint_dirs() if _is_complete(path)]

    def _new_checkpoint_dirpath(self) -> Path:
        final = super()._new_checkpoint_dirpath()
        return final.with_name(SAVING + final.name)

    def _custom_checkpoint_dirpath(self, name: str) -> Path:
        final = super()._custom_checkpoint_dirpath(name)
        return final.with_name(SAVING + final.name)

    def _save_checkpoint_metafile(
        self, fpath: Path, meta_to_include: Mapping[str, Any], end_of_epoch: bool = True
    ) -> dict[str, Any]:
        """Only compose the marker: the parent class asks for it first, it is written last."""
        self._marker = {"unixtime": time.time(), "end-of-epoch": end_of_epoch, **meta_to_include}
        return self._marker

    def _publish(self, staging: Path, final: Path) -> None:
        """Sync the files, write the marker, and move the folder to its place."""
        sizes = {}
        for path in sorted(staging.iterdir()):
            sync(path)
            sizes[path.name] = path.stat().st_size
        marker = staging / METAFNAME
        marker.write_text(yaml.safe_dump({**self._marker, FILES_KEY: sizes}), encoding="utf-8")
        sync(marker)
        sync(staging)
        if final.exists():  # a folder cannot be renamed over another
            os.replace(final, final.with_name(REPLACED + final.name))
        os.replace(staging, final)
        sync(self.checkpoints_dir)
        shutil.rmtree(final.with_name(REPLACED + final.name), ignore_errors=True)

    def _remove_staging(self) -> None:
        for path in self.checkpoints_dir.glob(f"{SAVING}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _clear_leftovers(self) -> None:
        """Finish or undo what a killed process had begun."""
        self._remove_staging()
        for path in self.checkpoints_dir.glob(f"{REPLACED}*"):
            final = path.with_name(path.name.removeprefix(REPLACED))
            if final.exists():
                shutil.rmtree(path)
            else:  # killed between the two renames: the old one is still the newest
                os.replace(path, final)
        for path in self.checkpoints_dir.glob(f"{DELETING}*"):
            shutil.rmtree(path)


def _is_complete(path: Path) -> bool:
    """Whether a folder holds every file that its marker names (SpeechBrain's own names none)."""
    try:
        marker = yaml.safe_load((path / METAFNAME).read_text(encoding="utf-8"))
        sizes = marker[FILES_KEY]
        complete = all((path / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        complete = False
    if not complete:
        logger.warning("ignored the incomplete checkpoint %s", path)
    return complete


def _remove(path: Path) -> None:
    doomed = path.with_name(DELETING + path.name)
    os.replace(path, doomed)
    shutil.rmtree(doomed)


OTHERS = "others"


@register_checkpoint_hooks
class RandomState:
    """Saves and restores the generators of torch (all devices), numpy and Python.

    Of several processes each gets back its own; those that were not there when it was saved draw
    from the main one's state, each something else.

    Examples
    --------
    >>> import tempfile
    >>> from speechbrain.utils.checkpoints import Checkpointer
    >>> checkpointer = Checkpointer(tempfile.mkdtemp())
    >>> checkpointer.add_recoverable("random", RandomState())
    >>> _ = checkpointer.save_checkpoint()
    >>> first = torch.rand(3), random.random()
    >>> _ = checkpointer.recover_if_possible()
    >>> torch.equal(first[0], torch.rand(3)), first[1] == random.random()
    (True, True)
    """

    def __init__(self) -> None:
        self._others: list[dict[str, Any]] = []

    def gather_state(self) -> None:
        """Bring all states to the main process, which may then save them; all call this."""
        self._others = all_gather(_state())[1:]

    @mark_as_saver
    def _save(self, path: str) -> None:
        # tensors and plain values only, so that loading needs no pickled classes
        others = {OTHERS: self._others} if self._others else {}
        torch.save({**_state(), **others}, path)

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        del end_of_epoch
        saved = torch.load(path, map_location="cpu", weights_only=True)
        every = [saved, *saved.get(OTHERS, ())]
        number = rank()
        _restore(every[number] if number < len(every) else saved)
        if number >= len(every):
            draw_own_numbers()


def draw_own_numbers() -> None:
    """Let each process but the main one draw numbers of its own, which follow from its state."""
    if rank() == 0:
        return
    seed = int(torch.randint(2**31, ())) + rank()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries draw from the global one)
    random.seed(seed)


def _state() -> dict[str, Any]:
    # libraries draw from the global one
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": _cuda_states(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(words), gauss],
    }


def _cuda_states() -> list[torch.Tensor]:
    """Give the states of the devices in use: of several processes each has one."""
    if not torch.cuda.is_available():
        return []
    if is_distributed_initialized():
        return [torch.cuda.get_rng_state()]
    return torch.cuda.get_rng_state_all()


def _restore(saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"])
    if saved["cuda"] and len(saved["cuda"]) == len(_cuda_states()):
        if is_distributed_initialized():
            torch.cuda.set_rng_state(saved["cuda"][0])
        else:
            torch.cuda.set_rng_state_all(saved["cuda"])
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))


def checkpoints_in(folder: str | Path) -> list[Path]:
    """List the checkpoints of a run: those in `save`, or in that of a stage's folder.

    Parameters
    ----------
    folder : str or Path
        Of the run.

    Returns
    -------
    list of Path
        Of each the file in which the updates are counted.

    Examples
    --------
    >>> checkpoints_in(getfixture("tmp_path"))
    []
    """
    return [path for own in ("", "*/") for path in Path(folder).glob(f"{own}save/CKPT*/brain.ckpt")]
