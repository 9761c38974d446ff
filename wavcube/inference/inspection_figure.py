"""The picture of an inspection: five panels over one time axis. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from wavcube.inference.inspection import COMPONENTS, principal_components

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from wavcube.inference.inspection import Inspection

Seconds = float

_INCHES_PER_SECOND, _MIN_WIDTH, _MAX_WIDTH = 1.6, 9.0, 40.0
# Nepers of a log-mel spectrogram with a full-scale waveform: below is hiss that nobody hears.
_MEL_RANGE = (-8.0, 3.0)


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
    seconds = len(inspection.waveform) / inspection.sample_rate
    width = min(max(_INCHES_PER_SECOND * seconds + 2, _MIN_WIDTH), _MAX_WIDTH)
    figure = Figure(figsize=(width, 11), layout="constrained")
    # a file's name may hold dollars, which are no formula
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


def _draw_mel(axis: Axes, log_mel: Tensor, seconds: Seconds, label: str) -> None:
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
