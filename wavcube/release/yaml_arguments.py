"""Check the constructors' arguments that a hyperparams.yaml holds, before anything is built."""

from __future__ import annotations

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from wavcube.release.arguments import UNBUILT, check_arguments
from wavcube.release.build import ALLOWED_CLASSES, allowed_class
from wavcube.release.hyperparams_check import CALL_TAGS, compose, walk

NEW = "!new:"


def check_yaml_arguments(text: str, where: str = "the YAML") -> None:
    """Compare the arguments of every lobe with its class.

    Parameters
    ----------
    text : str
        A file that :func:`~wavcube.release.hyperparams_check.check_hyperparams` has let through,
        its references resolved.
    where : str
        The file's name, for the message.

    Raises
    ------
    ValueError
        Naming the argument that is unknown, missing or of another type, and its lobe's line.

    Examples
    --------
    >>> check_yaml_arguments("x: !new:wavcube.lobes.layer_mix.LayerMix {states: 3}")
    Traceback (most recent call last):
    ...
    ValueError: the YAML, line 1: LayerMix: missing a required argument: 'num_states'
    """
    for root in compose(text, where):
        for node in walk(root, set()):
            name = str(node.tag or "").removeprefix(NEW)
            if name not in ALLOWED_CLASSES:
                continue
            positional, named = [], {}
            if isinstance(node, MappingNode):
                named = {str(key.value): _plain(value) for key, value in node.value}
            elif isinstance(node, SequenceNode):
                positional = [_plain(value) for value in node.value]
            try:
                check_arguments(allowed_class(name), positional, named)
            except ValueError as error:
                raise ValueError(f"{where}, line {node.start_mark.line + 1}: {error}") from error


def _plain(node: Node) -> object:
    if str(node.tag).startswith(CALL_TAGS):
        return UNBUILT
    if isinstance(node, MappingNode):
        return {}  # no signature says what is in a mapping
    if isinstance(node, SequenceNode):
        # nor are there sequences in sequences; one of them may hold itself
        return [[] if isinstance(item, SequenceNode) else _plain(item) for item in node.value]
    return YAML(typ="safe", pure=True).constructor.construct_object(node)
