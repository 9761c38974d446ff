"""Strict reading of safetensors weights, and the hash that names a model."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import mmap
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from wavcube.lobes.layers.linear import Linear
from wavcube.release.old_names import OLD_NAMES, rename_classes
from wavcube.utils.tensor_bytes import header_bytes, read_header

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _TYPES.items()}


class StoredWeights(Mapping[str, Tensor]):
    """Tensors of a complete safetensors file, each read when it is asked for.

    They are read and not mapped: of a mapping, all that was ever looked at stays in memory.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FileNotFoundError
        When a tensor is asked for after the file was removed.
    ValueError
        When it was replaced.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "model.safetensors"
    >>> write_weights(path, {"a": torch.ones(2)}, torch.float16)["a"]
    tensor([1., 1.], dtype=torch.float16)
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        with safe_open(self.path, framework="pt"):  # checks that the file is complete
            self._file = _identity(self.path)
        with self.path.open("rb") as file:
            self._entries, self._begin = read_header(file)
        self._entries.pop("__metadata__", None)

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        tensor = torch.empty(entry["shape"], dtype=_DTYPES[entry["dtype"]])
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} is gone, and weights of it are still needed")
        if _identity(self.path) != self._file:
            raise ValueError(f"{self.path} was replaced after it was opened: load the model again")
        with self.path.open("rb") as file:
            file.seek(self._begin + entry["data_offsets"][0])
            file.readinto(_as_bytes(tensor))
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _as_bytes(tensor: Tensor) -> memoryview:
    """See the memory of a tensor that is in one piece; numpy has not all of torch's types."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _identity(path: Path) -> tuple[int, int]:
    """Tell a file from one that took its place."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def write_weights(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
    done_with: Callable[[Tensor], None] | None = None,
) -> StoredWeights:
    """Write finite tensors as safetensors, converting one at a time.

    Parameters
    ----------
    path : str or Path
        The file.
    tensors : mapping of str to Tensor
        The weights. Integer tensors keep their type.
    dtype : torch.dtype
        Type of the floating point ones.
    done_with : callable, optional
        Called with each tensor of `tensors` once it is written, to let go of its memory.

    Returns
    -------
    StoredWeights
        What was stored.

    Raises
    ------
    ValueError
        If a value is not finite, or leaves the range of ``dtype``.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    types = {k: dtype if v.is_floating_point() else v.dtype for k, v in tensors.items()}
    # the widest first: every tensor then begins at a multiple of its type's size
    names = sorted(tensors, key=lambda name: (-types[name].itemsize, name))
    try:
        with path.open("wb") as file:
            file.write(_header(names, types, tensors))
            for name in names:
                tensor = tensors[name]
                file.write(_as_bytes(_converted(name, tensor.detach(), types[name])))
                if done_with is not None:
                    done_with(tensor)
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error
    return StoredWeights(path)


def _header(
    names: list[str], types: Mapping[str, torch.dtype], tensors: Mapping[str, Tensor]
) -> bytes:
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, shape = end, list(tensors[name].shape)
        end = begin + math.prod(shape) * types[name].itemsize
        content[name] = {"dtype": _TYPES[types[name]], "shape": shape, "data_offsets": [begin, end]}
    return header_bytes(content)


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring a tensor to the CPU and its type, in one piece; what is not finite is refused."""
    tensor = tensor.to("cpu")
    if tensor.is_floating_point():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"weight {name} holds NaN or infinite values: nothing is written")
        tensor = tensor.to(dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"weight {name} leaves the range of {dtype}: write float32")
    return tensor.contiguous()


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


@contextmanager
def init_empty() -> Iterator[None]:
    """Build modules with parameters on the meta device; buffers are as usual.

    No time goes into random weights that a file replaces, and the file's own pages can serve as
    the weights: what is never used, as a decoder where one encodes, is then never read.

    Examples
    --------
    >>> with init_empty():
    ...     layer = nn.Linear(3, 2)
    >>> layer.weight.is_meta
    True
    """
    register = nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = type(param)(param.detach().to("meta"), requires_grad=param.requires_grad)
        register(module, name, param)

    setattr(nn.Module, "register_parameter", register_on_meta)  # noqa: B010 - a patch, for a moment
    try:
        yield
    finally:
        setattr(nn.Module, "register_parameter", register)  # noqa: B010


def is_empty(module: nn.Module) -> bool:
    """Tell whether parameters are still to be filled."""
    return any(parameter.is_meta for parameter in module.parameters())


def settle_types(module: nn.Module, keep_half: bool) -> None:
    """Bring parameters that were assigned as a file has them to the types that a model runs in.

    Parameters
    ----------
    module : nn.Module
        Whose parameters may be float16.
    keep_half : bool
        Leave the large matrices as they are: for a model that computes in half precision.
    """
    matrices = {id(part.weight) for part in module.modules() if isinstance(part, Linear)}
    for parameter in module.parameters():
        if parameter.dtype == torch.float16 and not (keep_half and id(parameter) in matrices):
            parameter.data = parameter.data.float()


# an error names so many keys of a kind, and counts the rest
NAMED_KEYS = 6
# weight normalisation's parts: the hook of older torch and its parametrisation
_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def current_name(name: str) -> str:
    """Spell a weight's name as this torch does.

    Parameters
    ----------
    name : str
        As some torch wrote it.

    Returns
    -------
    str
        The same but for weight normalisation, which older versions spelt otherwise.

    Examples
    --------
    >>> current_name("conv.weight_g")
    'conv.parametrizations.weight.original0'
    >>> current_name("conv.bias")
    'conv.bias'
    """
    module, dot, last = name.rpartition(".")
    return module + dot + _WEIGHT_NORM.get(last, last)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file; any other format, a pickle above all, is refused unread.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict of str to Tensor
        Tensors on the CPU, as stored.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a complete safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no complete safetensors file ({error}); pickles are never read here"
        ) from error


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, assign: bool = False
) -> None:
    """Fill a module, cast to its types; every key and size must agree.

    Parameters
    ----------
    module : nn.Module
        What to fill.
    tensors : mapping of str to Tensor
        The weights.
    where : str
        Their origin, for the message.
    assign : bool
        Take the tensors themselves, in their own types, instead of copying their values: for a
        module without storage.

    Raises
    ------
    ValueError
        Naming the missing and unexpected keys and both sizes of those that differ.

    Examples
    --------
    >>> import torch
    >>> load_strictly(nn.Linear(2, 1), {"weight": torch.zeros(1, 3)}, "my file")
    Traceback (most recent call last):
    ...
    ValueError: my file does not fit the model: missing bias; weight has size [1, 3], not [1, 2]
    """
    own = module.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    sizes, kinds = [], []
    for name in sorted(own.keys() & tensors.keys()):
        wanted, found = own[name], tensors[name]
        if found.shape != wanted.shape:
            sizes.append(f"{name} has size {list(found.shape)}, not {list(wanted.shape)}")
        if found.is_floating_point() != wanted.is_floating_point():
            kinds.append(f"{name} is {found.dtype}, not {wanted.dtype}")
    lists = {"missing ": missing, "unexpected ": unexpected}
    problems = [f"{what}{_some(names)}" for what, names in lists.items() if names]
    problems += [_some(differing) for differing in (sizes, kinds) if differing]
    if problems:
        raise ValueError(f"{where} does not fit the model: " + "; ".join(problems))
    module.load_state_dict(dict(tensors), strict=True, assign=assign)


def load_release_weights(module: nn.Module, path: str | Path) -> None:
    """Fill a module from a safetensors file; the hook that a release's hyperparams.yaml names.

    Parameters
    ----------
    module : nn.Module
        What to fill.
    path : str or Path
        model.safetensors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a safetensors file, or a key or size differs.
    """
    tensors = read_weights(path)
    if not is_empty(module):
        load_strictly(module, tensors, str(path))
        return
    parameters = dict(module.named_parameters())
    types = {k: v.dtype for k, v in module.state_dict().items() if k not in parameters}
    tensors = {k: v.to(types.get(k, v.dtype)) for k, v in tensors.items()}
    load_strictly(module, tensors, str(path), assign=True)


def model_hash(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], without: str | None = None
) -> str:
    """Name a model by what it computes: its configuration and its weights.

    Parameters
    ----------
    config : mapping
        Of the model, as its release has it. What is None in it does not count, at any depth: it
        was not given, and a part that models may have one day does not rename those without it.
        Classes count by the names that they had in releases of format 1.
    tensors : mapping of str to Tensor
        Its weights, on any device; floating point ones count as float32, which a model runs in.
    without : str, optional
        A part that does not count: its weights are not read.

    Returns
    -------
    str
        SHA-256 in hexadecimal. A model rounded to float16 is another one: its latents differ.

    Examples
    --------
    >>> import torch
    >>> model_hash({}, {"a": torch.zeros(1)}) == model_hash({}, {"a": torch.zeros(1).half()})
    True
    >>> model_hash({}, {"a": torch.zeros(1)}) == model_hash({}, {"a": torch.ones(1)})
    False
    >>> model_hash({"part": None}, {}) == model_hash({}, {})
    True
    """
    given = _given(rename_classes({k: v for k, v in config.items() if k != without}, OLD_NAMES))
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for name in sorted(tensors):
        if name.partition(".")[0] == without:
            continue
        tensor = tensors[name].detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.float()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _given(config: object) -> object:
    """Leave out of plain data the entries that are None."""
    if isinstance(config, Mapping):
        return {key: _given(value) for key, value in config.items() if value is not None}
    return [_given(value) for value in config] if isinstance(config, list | tuple) else config


def _some(names: list[str]) -> str:
    """Join the first names; count the rest."""
    text = ", ".join(names[:NAMED_KEYS])
    return text if len(names) <= NAMED_KEYS else f"{text} and {len(names) - NAMED_KEYS} more"
