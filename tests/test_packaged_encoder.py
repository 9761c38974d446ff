"""The encoder in the package: its files, its card, and what it knows."""

import numpy as np
import pytest
import torch
from safetensors import safe_open

from benchmarks.features import pooled, ssl_frames
from benchmarks.fsdd import digit_accuracy, read_takes
from wavcube.release.ssl_folder import load_encoder, packaged_encoder
from wavcube.testing import tone


def test_weights_are_small_half_precision_and_complete():
    path = packaged_encoder() / "model.safetensors"
    assert path.stat().st_size <= 12e6
    with safe_open(path, framework="pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}
    assert kinds == {torch.float16}
    encoder = load_encoder(packaged_encoder()).eval()
    with torch.no_grad():
        feature = encoder(tone(1.0)[None]).feature
    assert feature.shape == (1, 50, encoder.dim)
    assert feature.isfinite().all()


def test_card_names_every_corpus_and_licence():
    card = (packaged_encoder() / "README.md").read_text(encoding="utf-8")
    for name in ("LibriSpeech", "LJSpeech", "VCTK", "espeak-ng"):
        assert name in card
    for licence in ("Apache-2.0", "CC BY 4.0", "public domain"):
        assert licence in card
    assert "@@" not in card


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_knows_digits_of_speakers_it_never_heard(shared):
    encoder = load_encoder(packaged_encoder())
    takes = read_takes(shared / "data" / "FSDD", encoder.sample_rate)
    accuracy = digit_accuracy(pooled(ssl_frames(encoder), [take.wav for take in takes]), takes)
    # half of the errors of an untrained network (41 % right)
    assert np.mean(list(accuracy.values())) >= 0.71
