"""A model as two ONNX networks: waveform to latent, latent to magnitude and phase.

What remains to be done is an inverse transform, which :mod:`wavcube.onnx.numpy_istft` does.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.wavcube import WavCube
from wavcube.onnx import numpy_istft
from wavcube.onnx.graphs import DecoderGraph, EncoderGraph
from wavcube.release.folder import latent_hash
from wavcube.utils.files import atomic_folder

ENCODER_FILE, DECODER_FILE = "encoder.onnx", "decoder.onnx"
OPSET = 18
# of the example that the graphs are traced with; no size of it is kept
_FRAMES = 7


def export_onnx(model: LatentCodec, folder: str | Path, overwrite: bool = False) -> Path:
    """Write a model as `encoder.onnx`, `decoder.onnx` and a NumPy inverse transform.

    Both networks take any number of items of one length, and any length. `encoder.onnx` maps `wavs`
    `[B, T]` to `latents` `[B, N, D]`, `decoder.onnx` maps `latents` to `magnitude` and `phase`
    `[B, M, F]`, for :func:`wavcube.onnx.numpy_istft.inverse_stft`. Their metadata have the sample
    rate, the hops, the latent's width and the hash that files of latents carry.

    Attention is written as a mask over all pairs of frames: memory grows with the square of the
    length, and recordings of minutes are better cut.

    Parameters
    ----------
    model : LatentCodec
        A WavCube.
    folder : str or Path
        A new or empty folder.
    overwrite : bool
        Replace an earlier export.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder is not empty and may not be replaced.
    ValueError
        If the model is none that can be exported, or onnx is not installed.
    """
    if not isinstance(model, WavCube):
        raise ValueError(f"a {type(model).__name__} cannot be exported to ONNX, only a WavCube")
    require_onnx()
    model, facts = model.eval(), _facts(model)
    samples = model.encoder.num_samples_for(_FRAMES)
    wavs, latents = torch.randn(2, samples), torch.randn(2, _FRAMES, model.latent_dim)
    with atomic_folder(folder, overwrite=overwrite, check_replaceable=_check_is_export) as draft:
        _write(EncoderGraph(model), wavs, draft / ENCODER_FILE, "wavs", ("latents",), facts)
        outputs = ("magnitude", "phase")
        _write(DecoderGraph(model), latents, draft / DECODER_FILE, "latents", outputs, facts)
        source = Path(numpy_istft.__file__)
        shutil.copyfile(source, draft / source.name)
    return Path(folder)


def require_onnx() -> None:
    """Check that ONNX files can be written.

    Raises
    ------
    ValueError
        If onnx is not installed; the message names the extra.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ValueError(f"the export needs onnx ({error}): pip install 'wavcube[onnx]'") from error


def _facts(model: WavCube) -> dict[str, str]:
    head = model.decoder.head
    return {
        "sample_rate": str(model.sample_rate),
        "hop": str(model.hop),
        "latent_dim": str(model.latent_dim),
        "latent_hash": latent_hash(model),
        "n_fft": str(head.n_fft),
        "stft_hop": str(head.hop),
    }


@torch.no_grad()
def _write(
    graph: nn.Module,
    example: Tensor,
    path: Path,
    input_name: str,
    output_names: tuple[str, ...],
    facts: dict[str, str],
) -> None:
    """Trace a graph, check it, and add the metadata."""
    import onnx

    names = (input_name, *output_names)
    with warnings.catch_warnings():
        # the exporter by tracing is the older of torch's two; the newer one takes ten times as long
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.eval(),
            (example,),
            str(path),
            input_names=[input_name],
            output_names=list(output_names),
            dynamic_axes={name: {0: "batch", 1: f"{name}_time"} for name in names},
            opset_version=OPSET,
            dynamo=False,
        )
    network = onnx.load(path)
    onnx.helper.set_model_props(network, facts)
    onnx.checker.check_model(network)
    onnx.save(network, path)


def _check_is_export(folder: Path) -> None:
    if not (folder / ENCODER_FILE).is_file():
        raise FileExistsError(f"{folder} is not replaced: it holds no {ENCODER_FILE}")
