"""What a model makes of one recording, as numbers and as one picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from wavcube.losses.mel import LogMelSpectrogram
from wavcube.metrics import METRICS, PairScores, score_pair
from wavcube.metrics.report import heading
from wavcube.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from wavcube.inference.latent import WavCube

COMPONENTS = 3

_INCHES_PER_SECOND, _MIN_WIDTH, _MAX_WIDTH = 1.6, 9.0, 40.0
# Nepers of a log-mel spectrogram with a full-scale waveform: below is hiss that nobody hears.
_MEL_RANGE = (-8.0, 3.0)


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


def draw(inspection: Inspection) -> Figure:
    """Draw an inspection.

    Parameters
    ----------
    inspection : Inspection
        What to draw.

    Returns
    -------
    Figure
        Waveform; mel spectrogram of the original and of the resynthesis on one colour scale; the
        latent, dimensions upwards; its principal components.
    """
    from matplotlib.figure import Figure

    seconds = len(inspection.waveform) / inspection.sample_rate
    width = min(max(_INCHES_PER_SECOND * seconds + 2, _MIN_WIDTH), _MAX_WIDTH)
    figure = Figure(figsize=(width, 11), layout="constrained")
    # a file's name may hold dollars, which are not a formula
    figure.suptitle(
        f"{inspection.name} · {seconds:.2f} s · model {inspection.model_hash[:12]}",
        parse_math=False,
    )
    panels = figure.subplots(5, 1, sharex=True, height_ratios=(1, 1.4, 1.4, 1.8, 1.3))
    _draw_waveforms(panels[0], inspection)
    original, copy = inspection.log_mels()
    _draw_mel(panels[1], original, seconds, "original")
    _draw_mel(panels[2], copy, seconds, "resynthesis")
    _draw_latents(panels[3], inspection)
    _draw_components(panels[4], inspection)
    panels[4].set_xlabel("seconds")
    panels[4].set_xlim(0, seconds)
    return figure


def _draw_waveforms(axis: Axes, inspection: Inspection) -> None:
    time = np.arange(len(inspection.waveform)) / inspection.sample_rate
    for samples, label in (
        (inspection.waveform, "original"),
        (inspection.resynthesis, "resynthesis"),
    ):
        axis.plot(time, samples.numpy(), linewidth=0.6, alpha=0.6, label=label)
    axis.set_ylabel("waveform")
    _put_legend_above(axis)


def _draw_mel(axis: Axes, log_mel: Tensor, seconds: float, label: str) -> None:
    low, high = _MEL_RANGE
    extent = (0, seconds, 0, len(log_mel))
    image = axis.imshow(
        log_mel.numpy(),
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=low,
        vmax=high,
        cmap="magma",
    )
    axis.set_ylabel(f"{label}\nmel band")
    axis.figure.colorbar(image, ax=axis, pad=0.01, label="neper")


def _draw_latents(axis: Axes, inspection: Inspection) -> None:
    frames, width = inspection.latents.shape
    # one outlier must not turn all the others grey; symmetric, so that zero is white
    limit = float(np.quantile(inspection.latents.abs(), 0.99)) or 1.0
    extent = (0, frames / inspection.frame_rate, 0, width)
    image = axis.imshow(
        inspection.latents.T.numpy(),
        origin="lower",
        aspect="auto",
        extent=extent,
        vmin=-limit,
        vmax=limit,
        cmap="RdBu_r",
        interpolation="nearest",
    )
    axis.set_ylabel("latent\ndimension")
    axis.figure.colorbar(image, ax=axis, pad=0.01, extend="both")


def _draw_components(axis: Axes, inspection: Inspection) -> None:
    tracks, shares = principal_components(inspection.latents)
    # a frame stands for the time that it covers: its middle
    time = (np.arange(len(tracks)) + 0.5) / inspection.frame_rate
    for number, (track, share) in enumerate(zip(tracks.T.numpy(), shares.tolist(), strict=True), 1):
        label = f"component {number} ({100 * share:.0f} % of the variance)"
        axis.plot(time, track, linewidth=1, marker="." if len(tracks) < 30 else None, label=label)
    axis.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    axis.set_ylabel("PCA of the latent")
    _put_legend_above(axis)


def _put_legend_above(axis: Axes) -> None:
    axis.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        borderaxespad=0,
        frameon=False,
        fontsize=8,
        ncols=COMPONENTS,
    )
