"""What a task looks like to those who use it: what it takes, what it gives, and its verb.

A folder of ``wavcube/tasks`` says it as ``VERB`` in its ``__init__.py``, which imports nothing
heavy: the command line lists the verbs, and ``wavcube.inference`` its classes, without waiting for
the tasks' own code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavcube.utils.files import WRITTEN_SUFFIXES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Recording:
    """Audio files that a task takes.

    Parameters
    ----------
    name : str
        On the command line.
    text : str
        For its help.
    several : bool
        Whether an item may have several of them, or none, as recordings of a voice.
    """

    name: str = "input"
    text: str = "files, folders, globs"
    several: bool = False


@dataclass(frozen=True)
class Audio:
    """Waveforms: `[B, T]` of one source, `[B, T, S]` of several. Each is written to a file.

    Parameters
    ----------
    sources : int
        How many a model gives.

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
            Itself for one source; "name.wav" gives "name_1.wav" and "name_2.wav" for two.
        """
        out = Path(out)
        if self.sources == 1:
            return [out]
        places = range(1, self.sources + 1)
        return [out.with_name(f"{out.stem}_{place}{out.suffix}") for place in places]

    def check(self, out: str | Path, source: str | Path, overwrite: bool) -> None:
        """Refuse an output that cannot be written.

        Parameters
        ----------
        out : str or Path
            Its name.
        source : str or Path
            What is read.
        overwrite : bool
            Whether it may replace another file.

        Raises
        ------
        FileExistsError
            If it is there already.
        ValueError
            If it does not end as an audio file, or one of several would replace the input.
        """
        from wavcube.inference.files import check_output

        for target in self.files(out):
            check_output(target, WRITTEN_SUFFIXES, overwrite)
            if self.sources > 1 and target.resolve() == Path(source).resolve():
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
        from wavcube.data.audio import write_audio

        wavs = result[None] if self.sources == 1 else result.T
        for target, wav in zip(self.files(out), wavs.cpu(), strict=True):
            write_audio(target, wav, sample_rate)


@dataclass(frozen=True)
class Text:
    """A line of text for each item, which is printed."""

    def show(self, result: str) -> str:
        """Return what is printed: the text itself."""
        return result


@dataclass(frozen=True)
class Label:
    """A name of a list, and its probability, for each item, which are printed."""

    def show(self, result: tuple[str, float]) -> str:
        """Return what is printed: the name, and how sure the model is of it."""
        name, probability = result
        return f"{name} ({probability:.2f})"


@dataclass(frozen=True)
class Scores:
    """Numbers by name for each item, which are printed."""

    def show(self, result: Mapping[str, float]) -> str:
        """Return what is printed: each name and its number."""
        return ", ".join(f"{name} {value:.4g}" for name, value in result.items())


Output = Audio | Text | Label | Scores


@dataclass(frozen=True)
class Option:
    """An option of a verb, which goes to the model's ``configure`` under its name.

    Parameters
    ----------
    name : str
        Of the argument.
    flag : str
        On the command line.
    kind : Callable
        From the text to the value.
    default : object
        Of the option.
    text : str
        For its help.
    """

    name: str
    flag: str
    kind: Callable[[str], Any]
    default: object
    text: str


@dataclass(frozen=True)
class Verb:
    """How a task is used.

    Parameters
    ----------
    name : str
        On the command line; and of the methods, such as "enhance" of ``enhance_file``.
    text : str
        One line for the help.
    output : Audio, Text, Label or Scores
        What it gives.
    inputs : sequence of Recording
        What it takes: of one alone there may be many files, each an item of its own.
    released : str
        The class for users among ``wavcube.inference``, in the task's module ``inference``; ""
        where :class:`wavcube.tasks.inference.Released` serves as it is.
    packaged : str
        Folder of the small model that comes with the package, if there is one.
    options : sequence of Option
        Further options of the command line.
    """

    name: str
    text: str
    output: Output
    inputs: Sequence[Recording] = (Recording(),)
    released: str = ""
    packaged: str = ""
    options: Sequence[Option] = ()
