"""What the inference class does with files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from wavcube.data.audio import AudioWriter, LongAudio, read_audio, write_audio
from wavcube.inference.latent_files import LatentHeader, Latents, write_latents
from wavcube.inference.long_form import LongForm
from wavcube.utils.files import LATENT_SUFFIXES, WRITTEN_SUFFIXES, check_suffix


class FileMethods(LongForm):
    """Methods on files for a class that works on batches: mixed into the inference class.

    Files are read and written on the CPU, and outputs appear complete or not at all. Recordings of
    more than a minute go window by window, as `encode_long` and `decode_long` do.
    """

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        raise NotImplementedError

    @property
    def latent_dim(self) -> int:
        """Width D of the latent."""
        raise NotImplementedError

    @property
    def latent_hash(self) -> str:
        """SHA-256 of what makes the latents."""
        raise NotImplementedError

    def encode_batch(
        self, wavs: Tensor, wav_lens: Tensor | None = None, sample_rate: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Encode `[B, T]` to latents `[B, N, D]` and their relative lengths `[B]`."""
        raise NotImplementedError

    def decode_batch(
        self,
        latents: Tensor,
        lens: Tensor | None = None,
        length: int | Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """Decode latents `[B, N, D]` to `[B, length]`."""
        raise NotImplementedError

    def encode_file(
        self,
        path: str | Path,
        out: str | Path | None = None,
        *,
        overwrite: bool = False,
        keep: bool = True,
    ) -> Tensor | None:
        """Encode an audio file; other rates are resampled, channels averaged.

        Parameters
        ----------
        path : str or Path
            Anything that soundfile reads.
        out : str or Path, optional
            A file to write, whose name ends in .safetensors: latents, rates, source samples, the
            model's hash.
        overwrite : bool
            Replace ``out``.
        keep : bool
            Return the latents. Without, ``out`` of a long recording is written in bounded memory.

        Returns
        -------
        Tensor or None
            `[1, N, D]`, if they are kept.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or ``out`` exists.
        ValueError
            If it is not audio, is empty or holds samples that are not finite, or ``out`` ends in
            something else.
        """
        check_output(out, LATENT_SUFFIXES, overwrite)
        audio = LongAudio(path, self.sample_rate)
        chunks, frames = self._latents_of(audio)
        kept = Kept(keep or out is None)
        chunks = kept.passing(chunks)
        if out is None:
            return kept.all_of(chunks)
        first = next(chunks)
        facts = audio.num_samples, self.sample_rate, self.frame_rate, self.latent_hash
        like = Latents(first[0, :1].cpu(), *facts)
        rows = (chunk[0] for chunk in chain([first], chunks))
        write_latents(out, rows, frames, like, overwrite)
        return kept.all_of(chunks)

    def decode_file(
        self,
        path: str | Path,
        out: str | Path | None = None,
        *,
        overwrite: bool = False,
        keep: bool = True,
    ) -> Tensor | None:
        """Decode a file of latents that this model made.

        Parameters
        ----------
        path : str or Path
            Written by :meth:`encode_file` or `wavcube encode`.
        out : str or Path, optional
            A wav or flac file to write.
        overwrite : bool
            Replace ``out``.
        keep : bool
            Return the waveform. Without, ``out`` of a long recording is written in bounded memory.

        Returns
        -------
        Tensor or None
            `[1, T]`, as many samples as were encoded, if it is kept.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or ``out`` exists.
        ValueError
            If it is broken, another model made it, or ``out`` ends in something else.
        """
        check_output(out, WRITTEN_SUFFIXES, overwrite)
        content = LatentHeader.read(path)
        if content.width != self.latent_dim:
            raise ValueError(
                f"{path}: latents of width {content.width}, this model's have {self.latent_dim}"
            )
        if content.latent_hash != self.latent_hash:
            raise ValueError(
                f"{path} holds latents of kind {content.latent_hash[:12]}, this model's are "
                f"{self.latent_hash[:12]}: decode it with the model that made it"
            )
        if not self._is_long(content.num_samples):
            wavs = self.decode_batch(Latents.load(path).latents[None], length=content.num_samples)
            return self._deliver_whole(wavs, out, keep)
        chunks = (chunk[None] for chunk in content.chunks())
        return self._deliver(
            self._decoded(chunks, content.num_frames, content.num_samples), out, keep
        )

    def resynthesize_file(
        self,
        path: str | Path,
        out: str | Path | None = None,
        *,
        overwrite: bool = False,
        keep: bool = True,
    ) -> Tensor | None:
        """Encode an audio file and decode it again.

        Parameters
        ----------
        path : str or Path
            Anything that soundfile reads.
        out : str or Path, optional
            A wav or flac file to write.
        overwrite : bool
            Replace ``out``.
        keep : bool
            Return the waveform. Without, ``out`` of a long recording is written in bounded memory.

        Returns
        -------
        Tensor or None
            `[1, T]`, as many samples as the file has at the model's rate, if it is kept.

        Raises
        ------
        FileNotFoundError, FileExistsError, ValueError
            See :meth:`encode_file`.
        """
        check_output(out, WRITTEN_SUFFIXES, overwrite)
        audio = LongAudio(path, self.sample_rate)
        chunks, frames = self._latents_of(audio)
        if self._is_long(audio.num_samples):
            return self._deliver(self._decoded(chunks, frames, audio.num_samples), out, keep)
        wavs = self.decode_batch(next(chunks), length=audio.num_samples)
        return self._deliver_whole(wavs, out, keep)

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
        return read_audio(path, self.sample_rate)

    def _latents_of(self, audio: LongAudio) -> tuple[Iterator[Tensor], int]:
        """Encode a recording to chunks `[1, n, D]`: one where it is short."""
        frames = self._lobe.num_frames(audio.num_samples)
        if self._is_long(audio.num_samples):
            return self._encoded(audio), frames
        return iter([self.encode_batch(audio.read()[None])[0]]), frames

    def _deliver_whole(self, wavs: Tensor, out: str | Path | None, keep: bool) -> Tensor | None:
        if out is not None:
            write_audio(out, wavs[0].cpu(), self.sample_rate)
        return wavs if keep or out is None else None

    def _deliver(
        self, chunks: Iterator[Tensor], out: str | Path | None, keep: bool
    ) -> Tensor | None:
        """Write samples `[1, m]` that come in chunks, and give them back if they are wanted."""
        kept = Kept(keep or out is None)
        chunks = kept.passing(chunks)
        if out is not None:
            with AudioWriter(out, self.sample_rate) as writer:
                for chunk in chunks:
                    writer.write(chunk[0])
        return kept.all_of(chunks)


class Kept:
    """Keep what passes, if it is wanted.

    Parameters
    ----------
    wanted : bool
        Whether it is.

    Examples
    --------
    >>> kept = Kept(True)
    >>> kept.all_of(kept.passing(iter([torch.zeros(1, 2), torch.zeros(1, 3)]))).shape
    torch.Size([1, 5])
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._chunks: list[Tensor] = []

    def passing(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Hand chunks `[1, n, ...]` on."""
        for chunk in chunks:
            if self.wanted:
                self._chunks.append(chunk)
            yield chunk

    def all_of(self, chunks: Iterable[Tensor]) -> Tensor | None:
        """Let the rest pass, and give everything in one tensor; None if it was not wanted."""
        for _ in chunks:
            pass
        if not self.wanted:
            return None
        return self._chunks[0] if len(self._chunks) == 1 else torch.cat(self._chunks, dim=1)


def check_output(out: str | Path | None, suffixes: Sequence[str], overwrite: bool) -> None:
    """Find mistakes before the long work.

    Parameters
    ----------
    out : str or Path, optional
        A file to write.
    suffixes : sequence of str
        What its name may end in.
    overwrite : bool
        Allow an existing file.

    Raises
    ------
    ValueError, FileExistsError
        If it ends in something else, or exists.
    """
    if out is None:
        return
    check_suffix(out, suffixes)
    if Path(out).exists() and not overwrite:
        raise FileExistsError(f"{out} exists: choose another name, or pass overwrite=True")
