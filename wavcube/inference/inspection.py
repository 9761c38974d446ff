"""What a model makes of one recording, as numbers and as one picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wavcube.losses.mel import LogMelSpectrogram
from wavcube.metrics import METRICS, PairScores, score_pair
from wavcube.metrics.report import heading
from wavcube.utils.atomic import write_atomically

if TYPE_CHECKING:
    from wavcube.inference import WavCube

COMPONENTS = 3


@dataclass(frozen=True)
class Inspection:
    """One recording and what a model made of it.

    Parameters
    ----------
    name : str
        Of the recording.
    waveform, resynthesis : Tensor
        Mono, `[T]`, at the model's rate.
    latents : Tensor
        `[N, D]`.
    sample_rate : int
        Of the model, in Hz.
    frame_rate : float
        Latent frames per second.
    model_hash : str
        The model.
    scores : PairScores
        Of the resynthesis.
    """

    name: str
    waveform: Tensor
    resynthesis: Tensor
    latents: Tensor
    sample_rate: int
    frame_rate: float
    model_hash: str
    scores: PairScores

    def format(self) -> str:
        """List the scores, and the reasons of those that could not be taken.

        Returns
        -------
        str
            One metric a line.
        """
        width = max(len(heading(key)) for key in (*self.scores, *self.scores.failures))
        values = {key: f"{value:.3f}" for key, value in self.scores.items()}
        texts = {**values, **self.scores.failures}
        return "\n".join(
            f"  {heading(key):<{width}}  {texts[key]}" for key in METRICS if key in texts
        )

    def write_png(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Draw waveform, mel spectrograms, latent and its principal components over one time axis.

        Parameters
        ----------
        path : str or Path
            File to write.
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        FileExistsError
            If the file exists and may not be replaced.
        ValueError
            If matplotlib is not installed.
        """
        require_matplotlib()
        from wavcube.inference.inspection_figure import draw

        stream = io.BytesIO()
        draw(self).savefig(stream, format="png", dpi=110)
        write_atomically(path, stream.getvalue(), overwrite=overwrite)

    def log_mels(self) -> tuple[Tensor, Tensor]:
        """Compute both log-mel spectrograms.

        Returns
        -------
        original, resynthesis : Tensor
            `[bands, frames]`, in nepers.
        """
        log_mel = LogMelSpectrogram(self.sample_rate)
        return log_mel(self.waveform[None])[0], log_mel(self.resynthesis[None])[0]


def inspect_file(model: WavCube, path: str | Path) -> Inspection:
    """Encode a recording, decode it again and score the result.

    Scores compare the two at the model's rate, whatever the file's; the word error rate is against
    the recogniser's reading of the original.

    Parameters
    ----------
    model : WavCube
        A loaded model.
    path : str or Path
        Audio file.

    Returns
    -------
    Inspection
        Signals on the CPU.

    Raises
    ------
    FileNotFoundError, ValueError
        As in ``model.encode_file``.
    """
    waveform = model.load_audio(path)
    latents, _ = model.encode_batch(waveform[None])
    resynthesis = model.decode_batch(latents, length=len(waveform))[0].cpu()
    scores = score_pair(
        waveform.double().numpy(),
        resynthesis.double().numpy(),
        model.sample_rate,
        # one recording comes without a transcript
        [key for key in METRICS if key != "wer_original"],
    )
    return Inspection(
        Path(path).name,
        waveform,
        resynthesis,
        latents[0].cpu(),
        model.sample_rate,
        model.frame_rate,
        model.model_hash,
        scores,
    )


def principal_components(latents: Tensor, count: int = COMPONENTS) -> tuple[Tensor, Tensor]:
    """Project latents on the directions in which they vary most over this recording.

    Parameters
    ----------
    latents : Tensor
        `[N, D]`.
    count : int
        Components wanted.

    Returns
    -------
    tracks : Tensor
        `[N, K]`, centred, with K = min(count, N, D). The sign is such that the largest loading of
        each direction is positive.
    shares : Tensor
        `[K]`, each one's share of the variance; zero when nothing varies.

    Examples
    --------
    >>> time = torch.arange(5.0)
    >>> tracks, shares = principal_components(torch.stack([3 * time, -4 * time], dim=1), count=1)
    >>> tracks[:, 0].tolist(), shares.tolist()  # 5 a step, rising with the latent's larger part
    ([10.0, 5.0, 0.0, -5.0, -10.0], [1.0])
    """
    centred = latents.double() - latents.double().mean(dim=0)
    _, scale, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:count]
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    tracks = centred @ (directions * largest.sign()).T
    variance = scale.square()
    shares = variance[:count] / variance.sum().clamp(min=torch.finfo(variance.dtype).tiny)
    return tracks, shares


def require_matplotlib() -> None:
    """Check that pictures can be drawn.

    Raises
    ------
    ValueError
        If matplotlib is not installed; the message names the extra.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"the picture needs matplotlib ({error}): pip install 'wavcube[recipes]'"
        ) from error
