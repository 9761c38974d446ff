"""Separators: one result whatever the batch, exact lengths, losses that know the assignment."""

from __future__ import annotations

import pytest
import torch
from separators import separators

from wavcube.lobes.configurable import describe
from wavcube.lobes.layers.latent_map import LatentHead
from wavcube.lobes.layers.recurrent import run_lstm
from wavcube.lobes.layers.spectrogram import MaskHead, log_magnitudes
from wavcube.losses.mel import LogMelSpectrogram, MelLoss
from wavcube.losses.semantic import semantic_loss
from wavcube.losses.separation import (
    pairwise_latent,
    pairwise_mel,
    pairwise_si_sdr,
    permutation_invariant,
)
from wavcube.release.folder import build
from wavcube.representations import LatentRepresentation, MelRepresentation
from wavcube.tasks.separation.model import LatentSeparator, MaskSeparator
from wavcube.testing import tiny_wavcube, tone

LENGTHS = [8000, 3001, 1, 319, 4800]


KINDS = list(separators())


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_batch_of_one_equals_the_item_in_a_batch_of_five(kind):
    model = separators()[kind].eval()
    wavs = torch.zeros(len(LENGTHS), max(LENGTHS) + 100)
    for row, size in zip(wavs, LENGTHS, strict=True):
        row[:size] = tone(1.0, seed=size)[:size]
    lens = torch.tensor(LENGTHS) / wavs.shape[1]
    together = model(wavs, lens)
    assert together.shape == (len(LENGTHS), 2, wavs.shape[1])
    inside = torch.arange(wavs.shape[1]) < torch.tensor(LENGTHS)[:, None]
    noisy = model(torch.where(inside, wavs, torch.randn_like(wavs)), lens)
    torch.testing.assert_close(noisy, together, atol=1e-4, rtol=0)
    for row, (item, size) in enumerate(zip(together, LENGTHS, strict=True)):
        alone = model(wavs[row : row + 1, :size])
        torch.testing.assert_close(item[:, :size], alone[0], atol=1e-4, rtol=0)
        assert not item[:, size:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_model_is_built_again_from_its_description(kind):
    model = separators()[kind]
    again = build(describe(model))
    again.load_state_dict(model.state_dict())
    assert again.sample_rate == model.sample_rate
    assert again.num_sources == 2
    assert describe(again) == describe(model)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_the_head_alone(kind):
    model = separators()[kind].train()
    estimates = model(torch.stack([tone(0.3, seed) for seed in (1, 2)]), rendered=False)
    estimates.square().sum().backward()
    trained = [p for p in model.head.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert all(p.grad is None for p in model.representation.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_silence_gives_finite_sources(kind):
    model = separators()[kind].eval()
    assert model(torch.zeros(2, 800)).isfinite().all()


def test_heads_of_another_width_or_hop_are_refused():
    mel = MelRepresentation(num_mel_bins=4)
    with pytest.raises(ValueError, match=r"width 9 every 320 .* gives width 8 every 320"):
        MaskSeparator(mel, MaskHead(9, 320, hidden_dim=4))
    with pytest.raises(ValueError, match=r"width 8 every 160 .* gives width 8 every 320"):
        MaskSeparator(mel, MaskHead(8, 160, hidden_dim=4))
    with pytest.raises(ValueError, match="width 7, the representation gives width 8"):
        LatentSeparator(LatentRepresentation(tiny_wavcube()), LatentHead(7, 2, 4, 1))
    with pytest.raises(ValueError, match=r"decoder can synthesise it: .*, not MelRepresentation"):
        LatentSeparator(mel, LatentHead(8, 2, 4, 1))


def test_head_with_spectrum_asks_for_the_mixture():
    head = MaskHead(8, 320, hidden_dim=4, with_spectrum=True)
    with pytest.raises(ValueError, match="needs the mixtures"):
        head(torch.randn(1, 5, 8), torch.tensor([1600]))


def test_log_magnitudes_know_no_level_and_no_padding():
    spectra = torch.randn(2, 6, 9, dtype=torch.complex64)
    spectra[1, 4:] = 0
    counts = torch.tensor([6, 4])
    found = log_magnitudes(spectra, counts)
    torch.testing.assert_close(log_magnitudes(spectra * 1e-3, counts), found, atol=1e-4, rtol=0)
    torch.testing.assert_close(log_magnitudes(spectra[1:, :4], counts[1:])[0], found[1, :4])
    assert not found[1, 4:].any()
    valid = found[1, :4]
    assert valid.mean().abs() < 1e-5
    assert valid.square().mean() == pytest.approx(1, abs=1e-4)
    assert not log_magnitudes(torch.zeros_like(spectra), counts).any()


def test_equal_lengths_give_what_packing_gives():
    lstm = torch.nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    x = torch.randn(3, 7, 3)
    plain = run_lstm(lstm, x, torch.tensor([7, 7, 7]))
    packed = run_lstm(lstm, x, torch.tensor([7, 7, 5]))
    torch.testing.assert_close(packed[:2], plain[:2], atol=1e-6, rtol=0)
    assert not packed[2, 5:].any()
    torch.testing.assert_close(
        packed[2, :5], run_lstm(lstm, x[2:, :5], torch.tensor([5]))[0], atol=1e-6, rtol=0
    )


def test_si_sdr_of_padded_items_is_their_own():
    sources = torch.stack([torch.stack([tone(0.1, a), tone(0.1, b)]) for a, b in ((1, 2), (3, 4))])
    estimates = sources.flip(1) + 0.1 * torch.randn_like(sources)
    sizes = torch.tensor([1600, 900])
    padded = sources.clone()
    padded[1, :, 900:] = 7.0
    table = pairwise_si_sdr(estimates, padded, sizes)
    alone = pairwise_si_sdr(estimates[1:, :, :900], sources[1:, :, :900], torch.tensor([900]))
    torch.testing.assert_close(table[1], alone[0])
    assert (table.diagonal(dim1=1, dim2=2) > table.flip(2).diagonal(dim1=1, dim2=2)).all()
    # estimates were swapped: the best assignment is the crossed one
    crossed = (table[:, 0, 1] + table[:, 1, 0]) / 2
    torch.testing.assert_close(permutation_invariant(table), crossed.mean())


def test_assignment_is_found_in_full_precision():
    table = torch.tensor([[[1.0, 2.0], [2.001, 3.0]], [[1.0, 2.0], [1.999, 3.0]]])
    expected = torch.tensor([(4.0 + 3.999) / 4])
    with torch.autocast("cpu", torch.bfloat16):
        found = permutation_invariant(table)
    torch.testing.assert_close(found[None], expected, rtol=0, atol=1e-6)


def test_mel_distance_is_the_mel_loss_of_each_pair():
    estimates, targets = torch.randn(2, 2, 4000), torch.randn(2, 2, 4000)
    samples = torch.tensor([4000, 2500])
    estimates[1, :, 2500:] = 9.0
    table = pairwise_mel(LogMelSpectrogram(16000), estimates, targets, samples)
    for item, size in enumerate(samples.tolist()):
        for i in range(2):
            for j in range(2):
                pair = estimates[item, i, :size], targets[item, j, :size]
                expected = MelLoss(16000)(*(wav[None] for wav in pair))
                torch.testing.assert_close(table[item, i, j], expected)


def test_latent_distance_is_the_semantic_loss_of_each_pair():
    estimates, targets = torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 8)
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    estimates[1, :, 3:] = torch.nan
    table = pairwise_latent(estimates, targets, mask)
    for item in range(2):
        for i in range(2):
            for j in range(2):
                pair = estimates[item : item + 1, i], targets[item : item + 1, j]
                expected = semantic_loss(*pair, mask[item : item + 1])
                torch.testing.assert_close(table[item, i, j], expected)
