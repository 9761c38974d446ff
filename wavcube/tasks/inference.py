"""What the classes for tasks share: `Released.from_hparams(FOLDER).predict_file(FILE)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from wavcube.data.audio import AudioWriter, LongAudio, read_audio
from wavcube.data.checks import Waveforms
from wavcube.inference.base import ReleasedModel, check_computed
from wavcube.tasks import folder_names
from wavcube.tasks.long_audio import predict_long
from wavcube.tasks.model import TaskModel
from wavcube.tasks.verbs import Audio, Verb


class Released(ReleasedModel):
    """A task's model of a release, ready for use.

    A subclass says by ``verb`` what it takes and gives, and by ``MODEL`` which models it can use;
    this class itself loads a release of any task.

    Parameters
    ----------
    modules : mapping of str to nn.Module
        `model`, a TaskModel.
    hparams, run_opts, freeze_params
        See :class:`~wavcube.inference.base.ReleasedModel`.
    """

    MODULES_NEEDED = ["model"]  # noqa: RUF012 - SpeechBrain's convention
    MODEL: ClassVar[type[TaskModel]] = TaskModel
    PACKAGED: ClassVar[str] = ""
    verb: Verb

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        freeze_params: bool = True,
    ) -> None:
        super().__init__(modules, hparams, run_opts, freeze_params)
        if not hasattr(type(self), "verb"):
            from wavcube.tasks.registry import find_verb

            self.verb = find_verb(self.mods.model.task)

    @property
    def output(self) -> Any:  # noqa: ANN401 - one of the four kinds
        """What it gives: see :mod:`wavcube.tasks.verbs`."""
        return self.verb.output

    def predict_batch(
        self,
        wavs: Waveforms,
        wav_lens: Tensor | None = None,
        sample_rate: int | None = None,
    ) -> Any:  # noqa: ANN401 - of the task's kind
        """Run the model on waveforms.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`, or `[T]` for one, floating point in about -1 to 1. What lies beyond an item's
            length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.
        sample_rate : int, optional
            Of ``wavs``, in Hz; another rate than the model's is resampled. By default the model's.

        Returns
        -------
        Tensor or list
            Waveforms `[B, T]` (of several sources `[B, T, S]`) at the model's rate, on its device,
            zero beyond an item's end; of other tasks a list with the result of each item.

        Raises
        ------
        ValueError
            If the shape, type, lengths or rate are wrong, or a sample is not finite.
        """
        wavs, wav_lens = self.checked(wavs, wav_lens, sample_rate)
        with torch.no_grad(), self.inference_ctx:
            made = self.mods.model(wavs, wav_lens)
        computed = made if isinstance(made, Tensor) else made[0]
        check_computed(computed, f"{self.verb.name}: the model", wavs)
        return self.results(made)

    def results(self, made: Any) -> Any:  # noqa: ANN401 - the model's own
        """Make what users get out of what the model gives.

        Parameters
        ----------
        made : Tensor or tuple
            Of the model's ``forward``.
        """
        return self.mods.model.results(made)

    def predict_file(
        self,
        path: str | Path,
        out: str | Path | None = None,
        *,
        overwrite: bool = False,
        keep: bool = True,
    ) -> Any:  # noqa: ANN401 - of the task's kind
        """Run the model on an audio file; other rates are resampled, channels averaged.

        Waveforms of more than a minute are made window by window; see
        :func:`~wavcube.tasks.long_audio.predict_long`.

        Parameters
        ----------
        path : str or Path
            Anything that soundfile reads.
        out : str or Path, optional
            Of waveforms, a wav or flac file to write, at the model's rate; of several sources
            "name.wav" gives "name_1.wav", "name_2.wav" and so on.
        overwrite : bool
            Replace what is there.
        keep : bool
            Return waveforms. Without, ``out`` of a long recording is written in bounded memory.

        Returns
        -------
        Tensor or object or None
            Waveforms as a batch of one, as many samples as the file has at the model's rate, if
            they are kept; of other tasks the result itself.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or an output exists.
        ValueError
            If it is not audio, is empty or holds samples that are not finite, or ``out`` ends in
            something else, or is not what this task gives.
        """
        is_audio = isinstance(self.output, Audio)
        if out is not None:
            if not is_audio:
                raise ValueError(f"{self.verb.name} writes no audio: leave out out={str(out)!r}")
            self.output.check(out, path, overwrite)
        audio = LongAudio(path, self.sample_rate)
        if not self._is_long(audio.num_samples):
            made = self.predict_batch(audio.read()[None])
            if out is not None:
                self.output.write(made[0], out, self.sample_rate)
            return made if is_audio else made[0]
        if is_audio:
            return self._deliver(predict_long(self._sources, audio), out, keep)
        return self._predict_long(audio)

    def _predict_long(self, audio: LongAudio) -> Any:  # noqa: ANN401 - of the task's kind
        """Give the result of a long recording, for which a task may have a way of its own."""
        return self.predict_batch(audio.read()[None])[0]

    def _sources(self, wav: Tensor) -> Tensor:
        """Make sources `[T, S]` of `[T]`."""
        made = self.predict_batch(wav[None])[0]
        return made if made.dim() == 2 else made[:, None]

    def _deliver(
        self, parts: Iterator[Tensor], out: str | Path | None, keep: bool
    ) -> Tensor | None:
        """Write sources that come in parts `[n, S]`, and give them as a batch of one."""
        kept: list[Tensor] = []
        with ExitStack() as stack:
            files = [] if out is None else self.output.files(out)
            writers = [stack.enter_context(AudioWriter(file, self.sample_rate)) for file in files]
            for part in parts:
                for writer, source in zip(writers, part.T, strict=False):
                    writer.write(source)
                if keep:
                    kept.append(part)
        if not keep:
            return None
        made = torch.cat(kept)
        return (made[:, 0] if self.output.sources == 1 else made)[None]

    def configure(self, **options: Any) -> None:  # noqa: ANN401 - the verb's own
        """Set the options of the verb's command line; by default there are none."""
        if options:
            raise ValueError(f"{self.verb.name} has no options {sorted(options)}")

    def load_audio(self, path: str | Path, savedir: str | Path | None = None) -> Tensor:
        """Read an audio file from disk at the model's rate, as mono.

        Parameters
        ----------
        path : str or Path
            The file. Nothing is fetched from elsewhere.
        savedir : str or Path, optional
            SpeechBrain's argument; unused.

        Returns
        -------
        Tensor
            `[T]`, on the CPU.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not audio, is empty or holds samples that are not finite.
        """
        del savedir
        return read_audio(path, self.sample_rate)

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> Any:  # noqa: ANN401
        """Run the model on `[B, T]`; see :meth:`predict_batch`."""
        return self.predict_batch(wavs, wav_lens)


def released_class(name: str) -> type[Released]:
    """Return the class that loads a task's releases.

    Parameters
    ----------
    name : str
        Of the task.

    Examples
    --------
    >>> released_class("enhancement").__name__
    'WavCubeEnhancer'
    """
    from wavcube.tasks.registry import find_verb

    verb = find_verb(name)
    if verb.released and name in folder_names():
        return getattr(import_module(f"wavcube.tasks.{name}.inference"), verb.released)
    return type("Released", (Released,), {"verb": verb, "PACKAGED": verb.packaged})
