"""DNSMOS P.835: what a network thinks of a generated clip, without its reference.

Reddy, Gopal and Cutler, "DNSMOS P.835: A non-intrusive perceptual objective speech quality metric
to evaluate noise suppressors" (ICASSP 2022, https://arxiv.org/abs/2110.01763). The user gives the
network, ``DNSMOS/sig_bak_ovr.onnx`` of https://github.com/microsoft/DNS-Challenge; windows and
calibration are those of ``dnsmos_local.py`` there, so that figures agree with published ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from wavcube.metrics.base import (
    LoadedPair,
    Measurement,
    Metric,
    MetricError,
    MetricInfo,
    ModelFile,
    require,
    resample,
)

Seconds = float

SAMPLE_RATE = 16000
WINDOW: Seconds = 9.01
_SIZE = int(WINDOW * SAMPLE_RATE)
_PROVIDERS = ["CPUExecutionProvider"]
# Second-degree polynomials, highest power first, that map the network's three outputs to ratings.
_POLYNOMIALS = np.array(
    [
        [-0.08397278, 1.22083953, 0.0052439],
        [-0.13166888, 1.60915514, -0.39604546],
        [-0.06766283, 1.11546468, 0.04602535],
    ]
)


def _info(key: str, name: str, subject: str) -> MetricInfo:
    return MetricInfo(
        key=key,
        name=f"DNSMOS P.835 {name}",
        description=(
            f"Predicted rating of the {subject} of the generated signal (Reddy et al. 2022), not "
            "the personalised variant: mean of calibrated windows of 9.01 s every second, cut as "
            "dnsmos_local.py does; shorter signals are repeated"
        ),
        unit="MOS",
        better="higher",
        package="onnxruntime",
        sample_rate=SAMPLE_RATE,
        aligned=False,
    )


INFOS = (
    _info("dnsmos_sig", "SIG", "speech signal"),
    _info("dnsmos_bak", "BAK", "background"),
    _info("dnsmos_ovrl", "OVRL", "overall quality"),
)


def dnsmos_metrics(path: str | Path) -> tuple[Metric, ...]:
    """Make the three metrics of a network.

    Parameters
    ----------
    path : str or Path
        ``sig_bak_ovr.onnx``. The personalised network of the same name has another calibration.

    Returns
    -------
    tuple of Metric
        SIG, BAK and OVRL, for ``score_pair``, ``score_many`` and ``evaluate_folders``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a network, or onnxruntime is not installed.
    """
    model = ModelFile.identify(path)
    try:
        _load(model)
    except MetricError as error:
        raise ValueError(f"DNSMOS by {path}: {error}") from error
    return tuple(
        Metric(model.sign(info), partial(_measure, model=model, index=index))
        for index, info in enumerate(INFOS)
    )


def dnsmos(samples: np.ndarray, sample_rate: int, model: ModelFile) -> np.ndarray:
    """Rate a signal.

    Parameters
    ----------
    samples : ndarray
        Waveform, ``[T]``.
    sample_rate : int
        Its rate in Hz; the network works at 16 kHz.
    model : ModelFile
        The network.

    Returns
    -------
    ndarray
        Speech signal, background and overall quality, ``[3]``, each from about 1 to 5.

    Raises
    ------
    MetricError
        If onnxruntime is missing or the file is not such a network.
    """
    wav = resample(samples, sample_rate, SAMPLE_RATE).astype(np.float32)
    return np.array(_rate(wav.tobytes(), model))


def cut_windows(samples: np.ndarray) -> list[np.ndarray]:
    """Cut a signal as ``dnsmos_local.py`` does.

    A short signal is doubled until it fills a window. There is a window for each whole second from
    the tenth on, and one in any case. A window's end is rounded down from a sum of floats, and a
    window that comes out a sample short is left out: those that begin after 7 to 23 s. Published
    figures are made so, and so are these.

    Parameters
    ----------
    samples : ndarray
        Waveform at 16 kHz, ``[T]`` with T > 0.

    Returns
    -------
    list of ndarray
        Windows of 9.01 s, ``[144160]``.

    Examples
    --------
    >>> [len(cut_windows(np.ones(16000 * seconds))) for seconds in (1, 5, 10, 11, 16, 30)]
    [7, 1, 1, 2, 7, 7]
    """
    while len(samples) < _SIZE:
        samples = np.concatenate([samples, samples])
    count = int(len(samples) // SAMPLE_RATE - WINDOW) + 1
    bounds = ((i * SAMPLE_RATE, int((i + WINDOW) * SAMPLE_RATE)) for i in range(count))
    return [samples[start:end] for start, end in bounds if end - start == _SIZE]


def calibrate(raw: np.ndarray) -> np.ndarray:
    """Map the network's outputs to the scale of listeners' ratings.

    Parameters
    ----------
    raw : ndarray
        Speech signal, background and overall quality, ``[..., 3]``.

    Returns
    -------
    ndarray
        Ratings, ``[..., 3]``.

    Examples
    --------
    >>> calibrate(np.array([3.0, 3.0, 3.0])).round(4).tolist()
    [2.912, 3.2464, 2.7835]
    """
    square, linear, constant = _POLYNOMIALS.T
    return (square * raw + linear) * raw + constant


def _measure(pair: LoadedPair, model: ModelFile, index: int) -> Measurement:
    return Measurement(float(dnsmos(pair.generated, pair.sample_rate, model)[index]))


# The three metrics of a clip follow each other and come from the same windows.
@lru_cache(maxsize=1)
def _rate(wav: bytes, model: ModelFile) -> tuple[float, ...]:
    network = _load(model)
    windows = cut_windows(np.frombuffer(wav, dtype=np.float32))
    raw = np.array([network(window) for window in windows], dtype=np.float64)
    return tuple(calibrate(raw).mean(axis=0).tolist())


@lru_cache(maxsize=1)
def _load(model: ModelFile) -> Callable[[np.ndarray], np.ndarray]:
    """Load the network as a function from a window, ``[144160]``, to its outputs, ``[3]``."""
    onnxruntime = require("onnxruntime", "onnxruntime", extra="mos")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, there is no need to print it too
    content = model.read()
    try:
        # on the CPU always, so that a score does not depend on the machine's accelerator
        session = onnxruntime.InferenceSession(content, options, providers=_PROVIDERS)
    except Exception as error:  # onnxruntime's errors have no class in common
        raise MetricError(f"the file cannot be loaded: {error}") from error

    def run(window: np.ndarray) -> np.ndarray:
        try:
            output = session.run(None, {session.get_inputs()[0].name: window[None]})[0]
        except Exception as error:
            raise MetricError(f"the network does not take a window: {error}") from error
        if np.shape(output) != (1, len(INFOS)):
            raise MetricError(f"the network gives the shape {np.shape(output)}, not (1, 3)")
        return output[0]

    run(np.zeros(_SIZE, np.float32))
    return run
