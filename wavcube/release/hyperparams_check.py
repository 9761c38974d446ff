"""Refuse a HyperPyYAML text that could run code, before anything of it is built.

HyperPyYAML calls what a YAML names: ``x: !apply:os.system [command]`` runs the command while it is
parsed. Here the text is only composed to nodes, which constructs nothing, and every tag must be on
a short list. Three ways around the tags are closed too: HyperPyYAML reads a scalar in parentheses
with a loader that constructs any Python object, a reference with a dot becomes a call of
``getattr``, and a reference inside a string can assemble either.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import ruamel.yaml
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")
)
CALL_TAGS = ("!new:", "!name:")
_REFERENCE = re.compile(r"<[^<>.]+>")
_REFERENCE_PART = re.compile(r"<[^>]*>")
_TUPLE = re.compile(r"\(.*\)", re.DOTALL)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)


class UnsafeYAMLError(ValueError):
    """A YAML names something that is not on the list of what a release may build."""


def check_hyperparams(text: str, allowed: Collection[str], where: str = "the YAML") -> None:
    """Check every tag of a HyperPyYAML text against a list of exact names.

    Parameters
    ----------
    text : str
        The whole file.
    allowed : collection of str
        Dotted names that `!new:` and `!name:` may name. `!apply:`, `!applyref:`, `!module:`,
        `!include:` and Python's own tags are always refused.
    where : str
        The file's name, for the message.

    Raises
    ------
    UnsafeYAMLError
        Naming the tag or value and its line.
    ValueError
        If the text is no YAML, or no mapping.

    Examples
    --------
    >>> check_hyperparams("x: !new:torch.nn.Linear [2, 1]", {"torch.nn.Linear"})
    >>> check_hyperparams("x: !apply:os.system [ls]", {"torch.nn.Linear"})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    wavcube.release.hyperparams_check.UnsafeYAMLError: the YAML, line 1...
    """
    if _DIRECTIVE.search(text):
        # %TAG gives a short tag any meaning
        raise UnsafeYAMLError(f"{where}: YAML directives (%) are not allowed")
    for root in compose(text, where):
        for node in walk(root, set()):
            if problem := _problem(node, allowed):
                line = node.start_mark.line + 1
                raise UnsafeYAMLError(
                    f"{where}, line {line}: {problem} is not allowed; pass trust_yaml=True only if "
                    "you trust its author as you trust a program"
                )


def compose(text: str, where: str) -> list[Node]:
    """Parse to nodes, with the resolver that HyperPyYAML's loader has; nothing is constructed.

    Parameters
    ----------
    text : str
        The whole file.
    where : str
        The file's name, for the message.

    Returns
    -------
    list of Node
        The documents.

    Raises
    ------
    ValueError
        If the text is no YAML, or no mapping.
    """
    try:
        nodes = [
            node
            for node in ruamel.yaml.YAML(typ="rt", pure=True).compose_all(text)
            if node is not None
        ]
    except YAMLError as error:
        raise ValueError(f"{where} is not valid YAML: {error}") from error
    if not nodes or not all(isinstance(node, MappingNode) for node in nodes):
        raise ValueError(f"{where} is no mapping of names to values")
    return nodes


def walk(node: Node, seen: set[int]) -> Iterator[Node]:
    """Give every node once; an alias points to a node that was seen.

    Parameters
    ----------
    node : Node
        The root.
    seen : set of int
        Is filled.

    Yields
    ------
    Node
        The root first.
    """
    if id(node) in seen:
        return
    seen.add(id(node))
    yield node
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield from walk(key, seen)
            yield from walk(value, seen)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            yield from walk(item, seen)


def _problem(node: Node, allowed: Collection[str]) -> str | None:
    """Say what is wrong with a node, or None."""
    tag = str(node.tag or "")
    if tag in ("!ref", "!copy"):
        if isinstance(node, ScalarNode) and _REFERENCE.fullmatch(node.value.strip()):
            return None
        return f"{tag} of anything but one <name>"
    for kind in CALL_TAGS:
        if tag.startswith(kind):
            return None if tag[len(kind) :] in allowed else tag
    if tag not in PLAIN_TAGS:
        return tag
    if isinstance(node, ScalarNode) and _TUPLE.fullmatch(node.value.strip()):
        return f"a value in parentheses, {node.value[:40]!r},"
    if isinstance(node, ScalarNode) and _REFERENCE_PART.search(node.value):
        # a reference to this value would be followed in turn
        return f"a value with a reference, {node.value[:40]!r},"
    return None
