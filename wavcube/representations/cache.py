"""States of a frozen representation on disk, computed once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wavcube.representations.base import Representation
from wavcube.utils.files import write_atomically

logger = logging.getLogger(__name__)


def states_of_clips(representation: Representation, wavs: Sequence[Tensor]) -> list[Tensor]:
    """Compute the states of clips in one batch, on the model's device.

    Parameters
    ----------
    representation : Representation
        Its device and its mode are used as they are.
    wavs : sequence of Tensor
        Waveforms `[T]` at its rate. The states of one that is alone are bit for bit those of
        :meth:`Representation.states`.

    Returns
    -------
    list of Tensor
        `[S, N, C]` for each, on the CPU. They may hold NaN.

    Raises
    ------
    ValueError
        If a waveform holds no samples.

    Examples
    --------
    >>> from wavcube.representations.mel import MelRepresentation
    >>> states = states_of_clips(MelRepresentation(4), [torch.zeros(1600), torch.zeros(640)])
    >>> [list(s.shape) for s in states]
    [[1, 5, 8], [1, 2, 8]]
    """
    if any(not len(wav) for wav in wavs):
        raise ValueError("a waveform holds no samples")
    model = representation.model
    device = next(chain(model.parameters(), model.buffers())).device
    batch = pad_sequence(list(wavs), batch_first=True)
    lens = torch.tensor([len(wav) for wav in wavs], dtype=torch.float64) / batch.shape[1]
    states = representation.states(batch.to(device), lens)[0].cpu()
    frames = [representation.num_frames(len(wav)) for wav in wavs]
    return [row[:, :count].contiguous() for row, count in zip(states, frames, strict=True)]


# raised when what the same model computes changes by the code
_FORMAT = 2
# shards kept open: their headers name thousands of states, and are slow to read for each of them
_OPEN_SHARDS = 64


def state_key(name: str, path: str | Path) -> str:
    """Name what was computed of an utterance.

    Parameters
    ----------
    name : str
        The utterance's ID.
    path : str or Path
        Its audio file, whose size and time are in the key: a file that was changed is computed
        anew.

    Returns
    -------
    str
        The key.

    Raises
    ------
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> _ = path.write_bytes(b"12345")
    >>> state_key("a", path).rpartition("-")[0]
    'a#5'
    """
    status = Path(path).stat()
    return f"{name}#{status.st_size}-{status.st_mtime_ns}"


class StateCache:
    """States by key, in safetensors shards under a folder named by the model's hash.

    Each utterance is computed alone, so that its states are bit for bit those of
    :meth:`Representation.states` for it by itself, whatever batch it is read into. A shard appears
    complete or not at all, several processes may write, and what is missing or broken is computed
    again.

    Parameters
    ----------
    folder : str or Path
        Of the caches of all models; is made.
    representation : Representation
        A frozen one; its device and its mode are used as they are.
    shard_bytes : int
        Size at which a shard is written.

    Raises
    ------
    ValueError
        If the representation is fine-tuned.

    Examples
    --------
    >>> from wavcube.representations.mel import MelRepresentation
    >>> cache = StateCache(getfixture("tmp_path"), MelRepresentation(4))
    >>> cache.fill([("a", lambda: torch.randn(1600))])
    1
    >>> cache["a"].shape
    torch.Size([1, 5, 8])
    """

    def __init__(
        self, folder: str | Path, representation: Representation, shard_bytes: int = 2**26
    ) -> None:
        if not representation.is_frozen:
            raise ValueError(
                f"states that are fine-tuned from update {representation.unfreeze_at} on cannot be "
                "cached: leave unfreeze_at out, or the cache"
            )
        self.representation, self.shard_bytes = representation, shard_bytes
        self.folder = Path(folder) / f"{representation.model_hash}-{_FORMAT}"
        self._shards: dict[str, Path] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            if not path.name.startswith("."):  # another process is writing it, or was killed
                self._add(path)

    def __contains__(self, key: str) -> bool:
        return key in self._shards

    def __len__(self) -> int:
        return len(self._shards)

    def fill(self, items: Iterable[tuple[str, Callable[[], Tensor]]]) -> int:
        """Compute what is not there.

        Parameters
        ----------
        items : iterable of (str, callable)
            Keys, each with a function that reads its waveform `[T]` at the model's rate; it is
            called only where it must be.

        Returns
        -------
        int
            How many were computed.

        Raises
        ------
        ValueError
            If a state is not finite.
        OSError
            If a shard cannot be written.
        """
        waiting: dict[str, Tensor] = {}
        size, before = 0, len(self)
        for key, read in items:
            if key in self._shards or key in waiting:
                continue
            waiting[key] = self._compute(key, read())
            size += waiting[key].nbytes
            if size >= self.shard_bytes:
                self._write(waiting)
                waiting, size = {}, 0
        if waiting:
            self._write(waiting)
        return len(self) - before

    def __getitem__(self, key: str) -> Tensor:
        """Read states `[S, N, C]`, on the CPU."""
        if key not in self._shards:
            raise KeyError(f"{key!r} is not in {self.folder}: fill the cache first")
        return _opened(self._shards[key]).get_tensor(key)

    def _compute(self, key: str, wav: Tensor) -> Tensor:
        (states,) = states_of_clips(self.representation, [wav])
        if not bool(torch.isfinite(states).all()):
            raise ValueError(f"{key}: the model gives NaN or infinite values for it")
        return states

    def _write(self, states: dict[str, Tensor]) -> None:
        # named by its keys: a second process that computes the same writes the same
        name = hashlib.sha256("\n".join(states).encode()).hexdigest()[:32]
        path = self.folder / f"{name}.safetensors"
        write_atomically(path, save(states), overwrite=True)
        self._shards.update(dict.fromkeys(states, path))

    def _add(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as shard:
                # safetensors checks the file's size against its header here
                self._shards.update(dict.fromkeys(shard.keys(), path))
        except SafetensorError as error:
            logger.warning("%s is broken (%s): what it held is computed again", path, error)
            path.unlink()


@lru_cache(_OPEN_SHARDS)
def _opened(path: Path) -> safe_open:
    return safe_open(path, framework="pt")
