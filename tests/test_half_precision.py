"""The package's heads compute in bf16 and float16 about what they compute in float32."""

import pytest
import torch

from wavcube.inference import (
    WavCubeASR,
    WavCubeEnhancer,
    WavCubeSeparator,
    WavCubeVoiceConverter,
)
from wavcube.testing import tone

WAVS, LENS = torch.stack([tone(1.5, 1), tone(1.5, 2)]), torch.tensor([1.0, 0.7])
HALF = pytest.mark.parametrize("precision", ["bf16", "fp16"])


def load(loader, precision):
    return loader.from_hparams(run_opts={"device": "cpu", "precision": precision})


def enhance(precision):
    return load(WavCubeEnhancer, precision).enhance_batch(WAVS, LENS)


def separate(precision):
    return load(WavCubeSeparator, precision).separate_batch(WAVS, LENS)


@HALF
@pytest.mark.parametrize("run", [enhance, separate])
def test_masks(run, precision):
    expected, made = run("fp32"), run(precision)
    assert made.dtype == torch.float32
    assert 0 < float((made - expected).norm() / expected.norm()) < 0.01


@HALF
def test_recognition(precision):
    expected, made = (load(WavCubeASR, kind).transcribe_batch(WAVS, LENS) for kind in
                      ("fp32", precision))  # fmt: skip
    assert expected[0]
    assert made == expected


@HALF
def test_conversion(precision):
    heard = torch.hann_window(512)
    expected, made = (
        load(WavCubeVoiceConverter, kind).convert_batch(WAVS, tone(3.0, 3), LENS)[:, :16000]
        for kind in ("fp32", precision)
    )
    # the waveform moves with the phases, the sound hardly does
    levels = [
        torch.stft(wavs, 512, 160, window=heard, return_complex=True).abs().clamp(min=1e-3).log10()
        for wavs in (expected, made)
    ]
    assert made.dtype == torch.float32
    assert 0 < 20 * float((levels[0] - levels[1]).abs().mean()) < 2  # dB
