"""Modules that remember what they were built with, so that a release can describe them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar

from torch import nn


class Configurable(nn.Module):
    """A module that can be built again from plain data.

    Its constructor's arguments are recorded, defaults included, as huggingface_hub's mixin does. A
    module among them is described in its turn, by the attribute of the argument's name.

    Examples
    --------
    >>> class Scale(Configurable):
    ...     def __init__(self, dim: int, bias: bool = False) -> None:
    ...         super().__init__()
    >>> Scale(3).config()
    {'dim': 3, 'bias': False}
    >>> describe(Scale(3))
    {'class': 'Scale', 'dim': 3, 'bias': False}
    """

    # arguments that belong to training alone: a release does not tell them
    training_arguments: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _IMPORTED[cls.__name__] = cls
        if "__init__" in cls.__dict__:
            setattr(cls, "__init__", _recording(cls.__init__))  # noqa: B010 - mypy forbids the other

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain data.

        Raises
        ------
        TypeError
            If a module among them is not Configurable.
        """
        found: dict[str, Any] = {}
        for name, value in self.__dict__["_arguments"].items():
            part = getattr(self, name, None)  # what stands there now: it may have been replaced
            if isinstance(part, Configurable):
                found[name] = describe(part)
            elif isinstance(value, nn.Module):
                raise TypeError(
                    f"{type(self).__name__}: {name} is a {type(value).__name__}, which a release "
                    "cannot describe: derive it from Configurable"
                )
            else:
                found[name] = _plain(value)
        return found

    def record(self, **arguments: object) -> None:
        """Describe the module by these values of arguments from now on.

        Parameters
        ----------
        **arguments
            Constructor arguments by name, as plain data.
        """
        self.__dict__["_arguments"].update(arguments)


_IMPORTED: dict[str, type[Configurable]] = {}


def imported_class(name: str) -> type[Configurable] | None:
    """Return a class by its short name, or None where no module that defines it was imported."""
    return _IMPORTED.get(name)


def describe(module: Configurable) -> dict[str, Any]:
    """Describe a module by the short name of its class and its constructor's arguments.

    Parameters
    ----------
    module : Configurable
        With modules inside or without.

    Returns
    -------
    dict
        The name under `class`, and the arguments; for :func:`wavcube.release.config_file.build`.

    Examples
    --------
    >>> from wavcube.lobes.decoder.decoder import ISTFTHead
    >>> describe(ISTFTHead(dim=8, n_fft=32, hop=8))
    {'class': 'ISTFTHead', 'dim': 8, 'n_fft': 32, 'hop': 8}
    """
    return {"class": type(module).__name__, **module.config()}


def _plain(value: object) -> object:
    """Copy arguments as JSON would give them back."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor; of a class and its bases, the outermost one counts."""
    signature = inspect.signature(init)

    @wraps(init)
    def recorded(self: Configurable, *args: object, **kwargs: object) -> None:
        if "_arguments" not in self.__dict__:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            _, *named = bound.arguments.items()
            left_out = type(self).training_arguments
            self.__dict__["_arguments"] = {k: v for k, v in named if k not in left_out}
        init(self, *args, **kwargs)

    return recorded
