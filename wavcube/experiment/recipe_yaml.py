"""A recipe's YAML, which may name a base and hold only what differs.

base: enhancement.yaml
without: [with_spectrum] # entries of the base that have no meaning here
lr: 0.001
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import yaml

BASE, WITHOUT = "base", "without"


class _NamedText(io.StringIO):
    """A text with the name of a file: HyperPyYAML looks beside it for what it includes."""

    def __init__(self, text: str, name: Path) -> None:
        super().__init__(text)
        self.name = str(name)


def open_yaml(path: str | Path) -> io.StringIO:
    """Open a recipe's YAML with its base resolved, for HyperPyYAML.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    FileNotFoundError
        If it, or its base, is missing.
    """
    return _NamedText(read_yaml(path), Path(path))


def read_yaml(path: str | Path) -> str:
    r"""Read a recipe's YAML; entries of its top level replace those of its base as a whole.

    Parameters
    ----------
    path : str or Path
        The file. The base that it names lies beside it, and may have a base too.

    Returns
    -------
    str
        The text of the base with the file's own entries in it, comments included.

    Raises
    ------
    FileNotFoundError
        If the file, or its base, is missing.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.yaml").write_text("seed: 1 # of all\nmodel:\n    dim: 2\n")
    >>> _ = (folder / "b.yaml").write_text("# Small\nbase: a.yaml\nseed: 2\nlr: 0.1\n")
    >>> print(read_yaml(folder / "b.yaml"))
    # Small
    seed: 2
    model:
        dim: 2
    lr: 0.1
    <BLANKLINE>
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    lines, spans = text.splitlines(), _spans(text)
    if BASE not in spans:
        return text
    named = [yaml.safe_load(lines[spans.pop(k).start])[k] for k in (BASE, WITHOUT) if k in spans]
    base, left_out = path.parent / named[0], set(named[1]) if len(named) > 1 else set()
    if not base.is_file():
        raise FileNotFoundError(f"{path} names the base {base.name}, and there is no file {base}")
    below = read_yaml(base)
    if base.parent.resolve() != path.parent.resolve():  # what it includes lies beside it
        below = re.sub(r"!include:(?!/)", f"!include:{base.parent.resolve()}/", below)
    merged = below.splitlines()
    for name, span in sorted(_spans(below).items(), key=lambda item: -item[1].start):
        own = range(0) if name in left_out else spans.pop(name, None)
        if own is not None:
            merged[span.start : span.stop] = lines[own.start : own.stop]
    added = [line for own in spans.values() for line in lines[own.start : own.stop]]
    merged = [*_heading(lines), *merged[len(_heading(merged)) :], *added]
    return "\n".join(merged) + "\n"


def _spans(text: str) -> dict[str, range]:
    """Find the lines of every entry of the top level, without comments that follow it."""
    root = yaml.compose(text)  # not constructed: tags stay what they are
    entries = root.value if isinstance(root, yaml.MappingNode) else ()
    return {
        key.value: range(key.start_mark.line, max(key.start_mark.line, _last_line(value)) + 1)
        for key, value in entries
    }


def _last_line(node: yaml.Node) -> int:
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style and node.value:
        return _last_line(node.value[-1])
    return node.end_mark.line if node.end_mark.column else max(0, node.end_mark.line - 1)


def _heading(lines: list[str]) -> list[str]:
    """Give the comments that a text begins with."""
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[:count]
