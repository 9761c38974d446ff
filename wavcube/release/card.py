"""The README.md of a release: what the model is, what it was made of, and who may use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

LIBRARIES = ("torch", "torchaudio", "speechbrain", "transformers", "safetensors")


@dataclass(frozen=True)
class Source:
    """A model or data set that a release was made of.

    Attributes
    ----------
    name : str
        As its makers call it.
    license : str
        Its licence, or the question that is open about it.
    origin : str
        Where it comes from: an address, or the command that made it.
    """

    name: str
    license: str
    origin: str


@dataclass(frozen=True)
class ModelCard:
    """What a reader must know of a release; every field without a default must be said.

    Attributes
    ----------
    title : str
        Name of the model.
    summary : str
        What it is and what it is not good for.
    weights_license : str
        Licence of the weights.
    commercial_use : {"yes", "no", "unclear"}
        Whether the licences of weights, upstream models and data allow it together.
    upstream : sequence of Source
        Models whose weights it started from or learned from; empty if it started at random.
    data : sequence of Source
        Data sets it was trained on.
    command : str
        The command that made it.
    code_license : str
        Licence of the code.
    results : mapping
        Rows of a table: name to metric to value.

    Examples
    --------
    >>> speech = Source("synthetic speech", "generated", "wavcube.data.synthetic")
    >>> card = ModelCard("Tiny", "A toy.", "Apache-2.0", "yes", [], [speech], "train.py")
    >>> render_card(card, {}).splitlines()[6]
    '# Tiny'
    """

    title: str
    summary: str
    weights_license: str
    commercial_use: Literal["yes", "no", "unclear"]
    upstream: Sequence[Source]
    data: Sequence[Source]
    command: str
    code_license: str = "Apache-2.0"
    results: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        items: list[ModelCard | Source] = [self, *self.upstream, *self.data]
        for item in items:
            for entry in fields(item):
                value = getattr(item, entry.name)
                if isinstance(value, str) and not value.strip():
                    raise ValueError(f"model card: {entry.name} of {item!r} must be said")
        if self.commercial_use not in ("yes", "no", "unclear"):
            raise ValueError(
                f"model card: commercial_use {self.commercial_use!r} is not one of yes, no, unclear"
            )


def installed_version(package: str) -> str:
    """Return the version of a package.

    Parameters
    ----------
    package : str
        Name of its distribution.

    Returns
    -------
    str
        The version, or "not installed".

    Examples
    --------
    >>> installed_version("a package that nobody has")
    'not installed'
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a release depends on.

    Returns
    -------
    dict of str to str
        Name to version, wavcube's own included.
    """
    from wavcube.version import __version__

    return {"wavcube": __version__, **{name: installed_version(name) for name in LIBRARIES}}


def render_card(
    card: ModelCard,
    facts: Mapping[str, object],
    loader: str = "WavCube",
    example: str = 'model.resynthesize_file("speech.wav", "copy.wav")',
) -> str:
    """Write the card as Markdown with the hub's front matter.

    Parameters
    ----------
    card : ModelCard
        What its makers say.
    facts : mapping
        What the model says of itself: name to value.
    loader : str
        The class of wavcube.inference that loads it.
    example : str
        A line of Python that uses the loaded "model".

    Returns
    -------
    str
        The text.
    """
    package = "wavcube" if loader == "WavCube" else "wavcube.inference"
    parts = [
        "---\n"
        f"license: {'apache-2.0' if card.weights_license == 'Apache-2.0' else 'other'}\n"
        "library_name: speechbrain\n"
        "tags: [speech, audio, codec, representation]\n"
        "---\n\n",
        f"# {card.title}\n\n{card.summary}\n\n",
        f"```python\nfrom {package} import {loader}\n\n"
        f'model = {loader}.from_hparams(source="THIS_FOLDER")\n{example}\n```\n\n',
        "## Facts\n\n",
        _table(("", ""), list(facts.items())),
        "\n## Licences\n\n",
        f"- Code: {card.code_license}\n- Weights: {card.weights_license}\n"
        f"- Commercial use: {card.commercial_use}\n\n",
        "### Models it was made from\n\n",
        _sources(card.upstream, "None: the training started from random weights.\n"),
        "\n### Data it was trained on\n\n",
        _sources(card.data, "None.\n"),
        f"\n## How it was made\n\n```\n{card.command}\n```\n\n",
        _table(("library", "version"), list(library_versions().items())),
    ]
    if card.results:
        metrics = list(dict.fromkeys(name for row in card.results.values() for name in row))
        rows = [
            (name, *(f"{row[m]:.4g}" if m in row else "not computed" for m in metrics))
            for name, row in card.results.items()
        ]
        parts += ["\n## Results\n\n", _table(("", *metrics), rows)]
    return "".join(parts)


def _sources(sources: Sequence[Source], none: str) -> str:
    if not sources:
        return none
    return _table(("name", "licence", "origin"), [(s.name, s.license, s.origin) for s in sources])


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
