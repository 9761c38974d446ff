"""Check what a release gives to its lobes' constructors, so that an error names the argument."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from torch import nn


def check_arguments(lobe: type[nn.Module], named: Mapping[str, Any]) -> None:
    """Compare arguments with the signature of a lobe, whose annotations are plain types.

    Parameters
    ----------
    lobe : type
        A module's class.
    named : mapping
        Arguments by name.

    Raises
    ------
    ValueError
        Naming the argument that is unknown, missing or of another type.

    Examples
    --------
    >>> from wavcube.lobes.layers.layer_mix import LayerMix
    >>> check_arguments(LayerMix, {"num_states": 3})
    >>> check_arguments(LayerMix, {"num_states": "three"})
    Traceback (most recent call last):
    ...
    ValueError: LayerMix: argument num_states must be int, got 'three'
    """
    try:
        given = inspect.signature(lobe).bind(**named).arguments
    except TypeError as error:
        raise ValueError(f"{lobe.__name__}: {error}") from error
    hints = get_type_hints(lobe.__init__)
    for name, value in given.items():
        if not _fits(value, hints[name]):
            found = type(value).__name__ if isinstance(value, nn.Module) else repr(value)
            raise ValueError(
                f"{lobe.__name__}: argument {name} must be {_spell(hints[name])}, got {found}"
            )


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - an annotation
    """Whether a value is of an annotated type, as far as the lobes' signatures need it."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in inner)
    if origin is Sequence:
        return isinstance(value, list | tuple) and all(_fits(item, inner[0]) for item in value)
    if origin is not None:
        return isinstance(value, origin)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint)


def _spell(hint: object) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_spell, get_args(hint)))
    if hint is NoneType:
        return "null"
    return hint.__name__ if isinstance(hint, type) else str(hint).rpartition(".")[2]
