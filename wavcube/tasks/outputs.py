"""What tasks take and give: how each is read, written, shown, and asked for on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wavcube.data.audio import write_audio
from wavcube.inference.files import check_output
from wavcube.utils.suffixes import WRITTEN_SUFFIXES


@dataclass(frozen=True)
class AudioInput:
    """Recordings that a task takes.

    Parameters
    ----------
    name : str
        What it is called on the command line.
    text : str
        For its help.
    several : bool
        Whether one item may have several recordings, or none, as with those of one voice.
    """

    name: str = "input"
    text: str = "files, folders, globs"
    several: bool = False


@dataclass(frozen=True)
class Audio:
    """Waveforms `[B, T]` of a single source, `[B, T, S]` of several.

    Parameters
    ----------
    sources : int
        How many a model of the task gives; a file is written for each.

    Examples
    --------
    >>> [path.name for path in Audio(2).files("a.wav")]
    ['a_1.wav', 'a_2.wav']
    """

    sources: int = 1

    def files(self, out: str | Path) -> list[Path]:
        """Name the files for an output of this name.

        Parameters
        ----------
        out : str or Path
            Itself for one source; "name.wav" gives "name_1.wav", "name_2.wav" for two.
        """
        out = Path(out)
        if self.sources == 1:
            return [out]
        places = range(1, self.sources + 1)
        return [out.with_name(f"{out.stem}_{place}{out.suffix}") for place in places]

    def check(self, out: str | Path, inputs: Sequence[str | Path], overwrite: bool) -> None:
        """Refuse an output that cannot be written, or that would replace an input.

        Parameters
        ----------
        out : str or Path
            Its name.
        inputs : sequence of str or Path
            What is read.
        overwrite : bool
            Whether it may replace another file.

        Raises
        ------
        FileExistsError
            If it is there already.
        ValueError
            If it ends in something else than an audio file, or is an input.
        """
        read = {Path(path).resolve() for path in inputs}
        for target in self.files(out):
            check_output(target, WRITTEN_SUFFIXES, overwrite)
            if target.resolve() in read:
                raise ValueError(f"{target} is the input: name another output")

    def write(self, result: Tensor, out: str | Path, sample_rate: int) -> None:
        """Write the waveforms of one item.

        Parameters
        ----------
        result : Tensor
            `[T]` or `[T, S]`.
        out : str or Path
            See :meth:`files`.
        sample_rate : int
            In Hz.
        """
        wavs = result[None] if self.sources == 1 else result.T
        for target, wav in zip(self.files(out), wavs.cpu(), strict=True):
            write_audio(target, wav, sample_rate)


@dataclass(frozen=True)
class Text:
    """A line of text for each item, printed."""

    def show(self, result: object) -> str:
        """Return the line to print."""
        return str(result)


@dataclass(frozen=True)
class Label:
    """One name of a list for each item, with its probability, printed."""

    def show(self, result: tuple[str, float]) -> str:
        """Return the line to print: the name and how sure the model is of it."""
        name, probability = result
        return f"{name} ({probability:.2f})"


@dataclass(frozen=True)
class Scores:
    """Numbers by name for each item, printed."""

    def show(self, result: dict[str, float]) -> str:
        """Return the line to print."""
        return ", ".join(f"{name} {value:.4g}" for name, value in result.items())


Output = Audio | Text | Label | Scores


def add_input_arguments(parser: argparse.ArgumentParser, inputs: Sequence[AudioInput]) -> None:
    """Ask for a task's inputs on the command line.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of the task's verb.
    inputs : sequence of AudioInput
        Of one alone there may be many files, each an item; of several each item has its own.
    """
    if len(inputs) == 1:
        parser.add_argument("inputs", nargs="+", metavar="INPUT", help=inputs[0].text)
        return
    for given in inputs:
        options = {"nargs": "*"} if given.several else {}
        parser.add_argument(given.name, metavar=given.name.upper(), help=given.text, **options)
