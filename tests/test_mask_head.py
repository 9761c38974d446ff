"""The mask head: exact lengths, nothing of a neighbour or of padding, the loss in closed form."""

from __future__ import annotations

import pytest
import torch

from wavcube.lobes.layers.spectrogram import MaskHead, Spectrogram
from wavcube.losses.separation import (
    pairwise_phase_sensitive,
    phase_sensitive_loss,
    phase_sensitive_target,
)

LENGTHS = [3001, 1600, 1, 319, 2240]


def padded(lengths, noise=0.0):
    wavs = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in lengths]
    batch = torch.stack([torch.nn.functional.pad(w, (0, max(lengths) - len(w))) for w in wavs])
    inside = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.where(inside, batch, noise * torch.randn_like(batch)), torch.tensor(lengths)


def small_head(sources=2, **changes):
    settings = {"hidden_dim": 6, "num_layers": 2, **changes}
    return MaskHead(8, stride=320, num_sources=sources, **settings).eval()


@pytest.mark.parametrize("hop", [128, 320, 384])
def test_spectrogram_is_torchs_and_inverts_to_the_last_sample(hop):
    spectrogram = Spectrogram(512, hop)
    for size in [1, 2, hop - 1, hop, hop + 1, 5 * hop - 3, 5 * hop]:
        wavs, num_samples = padded([size])
        spectra = spectrogram(wavs, num_samples)
        whole = torch.nn.functional.pad(wavs, (0, -size % hop))
        expected = torch.stft(
            whole, 512, hop, window=torch.hann_window(512), pad_mode="constant", return_complex=True
        )
        torch.testing.assert_close(spectra, expected.transpose(1, 2), atol=1e-4, rtol=0)
        back = spectrogram.inverse(spectra, num_samples)
        torch.testing.assert_close(back, wavs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("hop", [128, 320])
def test_spectrum_of_an_item_does_not_depend_on_its_batch(hop):
    spectrogram = Spectrogram(512, hop)
    wavs, num_samples = padded(LENGTHS, noise=1.0)
    spectra = spectrogram(wavs, num_samples)
    # changed spectra, also after an item's own: what is not a waveform's must not spread either
    changed = spectra * torch.rand(spectra.shape[-1]) + torch.randn(spectra.shape)
    back = spectrogram.inverse(changed, num_samples)
    for item, size in enumerate(LENGTHS):
        alone = spectrogram(wavs[item : item + 1, :size], num_samples[item : item + 1])
        frames = alone.shape[1]
        assert frames == spectrogram.num_frames(num_samples)[item]
        torch.testing.assert_close(spectra[item, :frames], alone[0])
        assert not spectra[item, frames:].any()
        inverse = spectrogram.inverse(
            changed[item : item + 1, :frames], num_samples[item : item + 1]
        )
        torch.testing.assert_close(back[item, :size], inverse[0])
        assert not back[item, size:].any()


def test_hop_beyond_the_window_is_refused():
    with pytest.raises(ValueError, match="hop=400 must be from 1 to three quarters of n_fft=512"):
        Spectrogram(512, 400)
    with pytest.raises(ValueError, match="5 samples have 2 frames, not 1"):
        Spectrogram(16, 8).inverse(torch.zeros(1, 1, 9) + 0j, torch.tensor([5]))


@torch.no_grad()
@pytest.mark.parametrize("sources", [1, 2])
def test_batch_equals_single_items_whatever_the_padding(sources):
    head = small_head(sources)
    wavs, num_samples = padded(LENGTHS, noise=1.0)
    counts = -(-num_samples // 320)
    features = torch.randn(len(LENGTHS), int(counts.max()), 8)
    lens = counts / counts.max()
    masks = head(features, num_samples, lens)
    separated = head.separate(wavs, num_samples, masks)
    assert separated.shape == (len(LENGTHS), sources, max(LENGTHS))
    for item, size in enumerate(LENGTHS):
        one = slice(item, item + 1)
        alone = head(features[one, : counts[item]], num_samples[one])
        torch.testing.assert_close(masks[item, :, : alone.shape[2]], alone[0], atol=1e-6, rtol=0)
        assert not masks[item, :, alone.shape[2] :].any()
        wav = head.separate(wavs[one, :size], num_samples[one], alone)
        torch.testing.assert_close(separated[item, :, :size], wav[0], atol=1e-5, rtol=0)
        assert not separated[item, :, size:].any()


@torch.no_grad()
def test_masks_of_one_and_zero_give_the_mixture_and_silence():
    head = small_head()
    wavs, num_samples = padded(LENGTHS)
    masks = torch.zeros(len(LENGTHS), 2, int(head.spectrogram.num_frames(num_samples).max()), 257)
    masks[:, 0] = 1
    separated = head.separate(wavs, num_samples, masks)
    torch.testing.assert_close(separated[:, 0], wavs, atol=1e-4, rtol=0)
    assert not separated[:, 1].any()


def test_features_meet_the_frames_they_belong_to():
    ramp = torch.arange(5.0)[None, :, None].expand(2, 5, 8)
    counts = torch.tensor([5, 3])
    same = small_head().to_spectrogram_frames(ramp, counts, 6)[..., 0]
    assert same.tolist() == [[0, 1, 2, 3, 4, 4], [0, 1, 2, 2, 2, 2]]
    halved = small_head(hop=160).to_spectrogram_frames(ramp, counts, 6)[..., 0]
    assert halved.tolist() == [[0, 0.5, 1, 1.5, 2, 2.5], [0, 0.5, 1, 1.5, 2, 2]]


def test_head_is_that_of_superb_by_default():
    head = MaskHead(128, stride=320, num_sources=2)
    assert head.config() == {
        "input_dim": 128, "stride": 320, "num_sources": 2, "hidden_dim": 896, "num_layers": 3,
        "dropout": 0.5, "n_fft": 512, "hop": 320, "with_spectrum": False,
        "activation": "relu",
    }  # fmt: skip
    assert head.lstm.bidirectional
    assert head.lstm.dropout == 0.5
    assert head.output.weight.shape == (2 * 257, 2 * 896)
    again = MaskHead(**head.config())
    again.load_state_dict(head.state_dict())


def test_masks_are_not_negative_and_learn():
    head = small_head(1).train()
    masks = head(torch.randn(2, 5, 8), torch.tensor([1600, 900]), torch.tensor([1.0, 0.6]))
    assert masks.min() == 0
    masks.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())


@torch.no_grad()
def test_shares_add_up_to_the_mixture():
    head = small_head(activation="softmax")
    wavs, num_samples = padded(LENGTHS)
    counts = -(-num_samples // 320)
    features = torch.randn(len(LENGTHS), int(counts.max()), 8)
    masks = head(features, num_samples, counts / counts.max())
    separated = head.separate(wavs, num_samples, masks)
    torch.testing.assert_close(separated.sum(1), wavs, atol=1e-4, rtol=0)
    assert separated[:, 0].abs().sum() > 0
    for activation, sources in (("sigmoid", 2), ("softmax", 1)):
        with pytest.raises(ValueError, match=f"'{activation}' for {sources} sources"):
            small_head(sources, activation=activation)


def test_wrong_features_are_refused():
    with pytest.raises(ValueError, match=r"\[batch, frames, 8\], got \[2, 5, 7\]"):
        small_head()(torch.randn(2, 5, 7), torch.tensor([1600, 1600]))


def test_target_is_the_projection_on_the_mixtures_phase():
    mixture = torch.polar(torch.tensor([2.0, 2.0, 0.5, 0.0]), torch.tensor([0.3, 0.3, -1.0, 0.0]))
    target = torch.polar(torch.tensor([3.0, 3.0, 1.0, 1.0]), torch.tensor([0.3, 1.3, 2.0, 0.0]))
    found = phase_sensitive_target(mixture[None, None], target[None, None, None])[0, 0, 0]
    # cos 0, cos 1, cos 3 < 0, and a silent mixture in which nothing can be found
    torch.testing.assert_close(found, torch.tensor([3.0, 3 * 0.5403023, 0.0, 0.0]))


def test_loss_divides_by_frames_and_sources_and_ignores_padding():
    mixture = torch.full((2, 4, 3), 2.0 + 0j)
    targets = torch.zeros(2, 2, 4, 3) + 0j
    targets[:, 0] = 1.0
    masks = torch.zeros(2, 2, 4, 3)
    num_frames = torch.tensor([4, 2])
    for padded_part in (mixture[1], targets[1, 0], targets[1, 1]):
        padded_part[2:] = 0
    # per frame 3 bins of error 1 in the first source, 0 in the second: 3 / 2 for both items
    assert phase_sensitive_loss(masks, mixture, targets, num_frames).item() == pytest.approx(1.5)


def test_best_permutation_is_taken_for_each_item():
    mixture = torch.ones(2, 3, 2) + 0j
    targets = torch.rand(2, 2, 3, 2) + 0j
    masks = targets.real.clone()
    masks[1] = masks[1].flip(0)
    num_frames = torch.tensor([3, 3])
    assert phase_sensitive_loss(masks, mixture, targets, num_frames).item() == pytest.approx(0)
    table = pairwise_phase_sensitive(
        masks, targets.real, magnitude=mixture.abs(), num_frames=num_frames
    )
    assert table[0, 0, 0] == 0
    assert table[1, 0, 1] == 0
    assert table[1, 0, 0] > 0
    # rows are estimates, columns are targets
    masks[0, 0] = 9.0
    table = pairwise_phase_sensitive(
        masks, targets.real, magnitude=mixture.abs(), num_frames=num_frames
    )
    assert table[0, 0, 1] > table[0, 1, 0]
    # one source: plain mean, no permutation
    single = phase_sensitive_loss(masks[:, :1], mixture, targets[:, :1], num_frames)
    torch.testing.assert_close(single, table[:, 0, 0].mean())


def test_gradient_of_a_silent_mixture_is_finite():
    masks = torch.rand(1, 2, 3, 2, requires_grad=True)
    silence = torch.zeros(1, 3, 2) + 0j
    phase_sensitive_loss(
        masks, silence, silence[:, None].repeat(1, 2, 1, 1), torch.tensor([3])
    ).backward()
    assert masks.grad.isfinite().all()
