"""What the inference class does with files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from wavcube.data.audio import read_audio, write_audio
from wavcube.latent_files import Latents
from wavcube.suffixes import LATENT_SUFFIXES, WRITTEN_SUFFIXES, check_suffix


class FileMethods:
    """Methods on files for a class that works on batches: mixed into the inference class.

    Files are read and written on the CPU, whole, and outputs appear complete or not at all.
    """

    sample_rate: int
    frame_rate: float
    latent_dim: int
    latent_hash: str

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
        self, path: str | Path, out: str | Path | None = None, *, overwrite: bool = False
    ) -> Tensor:
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

        Returns
        -------
        Tensor
            `[1, N, D]`.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or ``out`` exists.
        ValueError
            If it is no audio, is empty or holds samples that are not finite, or ``out`` ends in
            something else.
        """
        check_output(out, LATENT_SUFFIXES, overwrite)
        waveform = self.load_audio(path)
        latents, _ = self.encode_batch(waveform[None])
        if out is not None:
            content = Latents(
                latents[0].cpu(), len(waveform), self.sample_rate, self.frame_rate, self.latent_hash
            )
            content.save(out, overwrite=overwrite)
        return latents

    def decode_file(
        self, path: str | Path, out: str | Path | None = None, *, overwrite: bool = False
    ) -> Tensor:
        """Decode a file of latents that this model made.

        Parameters
        ----------
        path : str or Path
            Written by :meth:`encode_file` or `wavcube encode`.
        out : str or Path, optional
            A wav or flac file to write.
        overwrite : bool
            Replace ``out``.

        Returns
        -------
        Tensor
            `[1, T]`, as many samples as were encoded.

        Raises
        ------
        FileNotFoundError, FileExistsError
            If there is no such file, or ``out`` exists.
        ValueError
            If it is broken, another model made it, or ``out`` ends in something else.
        """
        check_output(out, WRITTEN_SUFFIXES, overwrite)
        content = Latents.load(path)
        if content.latents.shape[1] != self.latent_dim:
            raise ValueError(
                f"{path}: latents of width {content.latents.shape[1]}, "
                f"this model's have {self.latent_dim}"
            )
        if content.latent_hash != self.latent_hash:
            raise ValueError(
                f"{path} holds latents of kind {content.latent_hash[:12]}, this model's are "
                f"{self.latent_hash[:12]}: decode it with the model that made it"
            )
        wavs = self.decode_batch(content.latents[None], length=content.num_samples)
        return self._deliver(wavs, out)

    def resynthesize_file(
        self, path: str | Path, out: str | Path | None = None, *, overwrite: bool = False
    ) -> Tensor:
        """Encode an audio file and decode it again.

        Parameters
        ----------
        path : str or Path
            Anything that soundfile reads.
        out : str or Path, optional
            A wav or flac file to write.
        overwrite : bool
            Replace ``out``.

        Returns
        -------
        Tensor
            `[1, T]`, as many samples as the file has at the model's rate.

        Raises
        ------
        FileNotFoundError, FileExistsError, ValueError
            See :meth:`encode_file`.
        """
        check_output(out, WRITTEN_SUFFIXES, overwrite)
        waveform = self.load_audio(path)
        latents, _ = self.encode_batch(waveform[None])
        return self._deliver(self.decode_batch(latents, length=len(waveform)), out)

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
            If it is no audio, is empty or holds samples that are not finite.
        """
        return read_audio(path, self.sample_rate)

    def _deliver(self, wavs: Tensor, out: str | Path | None) -> Tensor:
        if out is not None:
            write_audio(out, wavs[0].cpu(), self.sample_rate)
        return wavs


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
