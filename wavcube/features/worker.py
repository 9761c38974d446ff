"""One shard after the other: read, computed, written. Every engine runs this and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wavcube.data.segments import Segments
from wavcube.features.shards import (
    Bad,
    Computed,
    Description,
    Precision,
    ShardRecord,
    shard_path,
    write_shard,
)
from wavcube.lobes.layers.linear import halve_matrices
from wavcube.representations import Representation
from wavcube.representations.cache import states_of_clips
from wavcube.utils.errors import one_line


@dataclass(frozen=True)
class Task:
    """What a worker has to know; it travels to other processes and machines.

    Attributes
    ----------
    open_source : Callable
        Opens the segments.
    make : Callable
        Loads the representation.
    folder : Path
        Where features go.
    description : Description
        Of the folder.
    """

    open_source: Callable[[], Segments]
    make: Callable[[], Representation]
    folder: Path
    description: Description


class ShardWriter:
    """Write shards whose bytes depend on the task alone.

    Parameters
    ----------
    task : Task
        What to do.
    device : str
        Where to compute, as torch names it.

    Raises
    ------
    ValueError
        If the model is not the one of the task.
    """

    def __init__(self, task: Task, device: str) -> None:
        self.task, self.segments = task, task.open_source()
        self.representation = task.make().to(device).eval()
        found, wanted = self.representation.model_hash, task.description.model_hash
        if found != wanted:
            raise ValueError(f"this worker's model is {found[:12]}, the job's {wanted[:12]}")
        rounds = task.description.form.computed_in == "bfloat16"
        if rounds:
            halve_matrices(self.representation, torch.bfloat16)
        self.autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=rounds)

    def write(self, number: int) -> int:
        """Write a shard, unless it is there.

        Parameters
        ----------
        number : int
            Of the shard.

        Returns
        -------
        int
            The same.

        Raises
        ------
        OSError
            If it cannot be written, or memory does not suffice to compute a batch.
        """
        description = self.task.description
        path = shard_path(self.task.folder, number, description.form.file_format)
        with contextlib.suppress(FileNotFoundError, ValueError):
            ShardRecord.load(path)
            return number  # an engine that gives lost work out again
        members = description.members(number)
        results: dict[int, Computed | Bad] = {}
        durations = self.segments.durations[members.start : members.stop].tolist()
        for batch in plan_batches(members, durations, description.form.batch_seconds):
            results |= self._compute(batch)
        ordered = [results[each] for each in members]
        computed = [result for result in ordered if isinstance(result, Computed)]
        bad = [result for result in ordered if isinstance(result, Bad)]
        write_shard(self.task.folder, number, description, computed, bad)
        return number

    def _compute(self, batch: Sequence[int]) -> dict[int, Computed | Bad]:
        results: dict[int, Computed | Bad] = {}
        wavs: dict[int, Tensor] = {}
        names = {number: f"row {number}" for number in batch}  # until they could be read
        rate = self.representation.sample_rate
        for number in batch:
            try:
                segment = self.segments[number]
                names[number] = segment.id
                self._check_length(segment.duration)
                wav = self.segments.read(number, rate)
                self._check_length(len(wav) / rate)  # not every manifest tells
                if not len(wav):
                    raise ValueError("it holds no samples")
                wavs[number] = wav
            except (ValueError, OSError) as error:
                results[number] = Bad(names[number], one_line(error))
        if not wavs:
            return results
        try:
            with self.autocast:
                all_states = states_of_clips(self.representation, list(wavs.values()))
        except (RuntimeError, MemoryError) as error:  # a GPU's memory is a RuntimeError
            shard = batch[0] // self.task.description.form.shard_size
            listed = ", ".join(names[number] for number in wavs)
            raise OSError(f"shard {shard}, computing {listed}: {one_line(error)}") from error
        for (number, wav), states in zip(wavs.items(), all_states, strict=True):
            try:
                features = to_stored(states, self.task.description.form.precision)
                results[number] = Computed(names[number], features, len(wav))
            except ValueError as error:
                results[number] = Bad(names[number], str(error))
        return results

    def _check_length(self, seconds: float) -> None:
        most = self.task.description.form.max_seconds
        if most is not None and seconds > most:
            raise ValueError(f"{seconds:g} s are more than {most:g}: cut it by a manifest")


def to_stored(states: Tensor, precision: Precision) -> Tensor:
    """Give the states of a clip the form in which they are stored.

    Parameters
    ----------
    states : Tensor
        `[S, N, C]`, float32.
    precision : {"float32", "float16"}
        Of the result.

    Returns
    -------
    Tensor
        `[N, C]` of one state, else `[N, S, C]`.

    Raises
    ------
    ValueError
        If a value is not finite, before or after.

    Examples
    --------
    >>> to_stored(torch.zeros(1, 5, 2), "float16").shape
    torch.Size([5, 2])
    >>> to_stored(torch.full((1, 5, 2), 1e6), "float16")
    Traceback (most recent call last):
    ...
    ValueError: values up to 1e+06 are beyond float16: store float32
    """
    if not bool(states.isfinite().all()):
        raise ValueError("the model gives NaN or infinite values for it")
    frames = states[0] if len(states) == 1 else states.transpose(0, 1)
    stored = frames.to(getattr(torch, precision)).contiguous()
    if not bool(stored.isfinite().all()):
        most = float(frames.abs().max())
        raise ValueError(f"values up to {most:.3g} are beyond {precision}: store float32")
    return stored


def plan_batches(
    numbers: Sequence[int], durations: Sequence[float], seconds: float
) -> list[list[int]]:
    """Put segments of similar durations into batches.

    Parameters
    ----------
    numbers : sequence of int
        The segments.
    durations : sequence of float
        Of each, in seconds; one of 0, unknown, is a batch of its own.
    seconds : float
        Most that a batch of several holds, padding included.

    Returns
    -------
    list of list of int
        All of them, from short to long.

    Examples
    --------
    >>> plan_batches([7, 8, 9], [2.0, 3.0, 1.0], 4.0)
    [[9, 7], [8]]
    >>> plan_batches([7, 8], [0.0, 0.0], 4.0)
    [[7], [8]]
    """
    batches: list[list[int]] = []
    for duration, number in sorted(zip(durations, numbers, strict=True)):
        if batches and duration and (len(batches[-1]) + 1) * duration <= seconds:
            batches[-1].append(number)
        else:
            batches.append([number])
    return batches
