"""Build a model from plain data; only classes that the registry knows can be built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wavcube.lobes.configurable import Configurable
from wavcube.release.arguments import check_arguments
from wavcube.release.registry import registered_class


def build(config: Mapping[str, Any], where: str = "the configuration") -> Configurable:
    """Build a model with random weights from plain data.

    Parameters
    ----------
    config : mapping
        What :func:`wavcube.lobes.configurable.describe` gave: `class`, a short name, and the
        constructor's arguments, nested modules in the same way.
    where : str
        Its origin, for the message.

    Returns
    -------
    Configurable
        The model.

    Raises
    ------
    ValueError
        If a class is unknown or does not take the arguments, naming them.

    Examples
    --------
    >>> build({"class": "LayerMix", "num_states": 3})
    LayerMix()
    >>> build({"class": "os.system", "command": "ls"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: the configuration: class 'os.system' is not one that a release may name...
    """
    arguments = {
        key: build(value, where) if isinstance(value, Mapping) and "class" in value else value
        for key, value in config.items()
        if key != "class"
    }
    try:
        module = registered_class(config.get("class"))
        check_arguments(module, arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    try:
        return module(**arguments)
    except Exception as error:  # a constructor may fail on values of the right types in any way
        raise ValueError(f"{where}: {module.__name__} cannot be built: {error}") from error
