"""Masked prediction: masks, targets and corruptions."""

import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch

from wavcube.metrics.linear_probe import leave_one_group_out
from wavcube.pretraining.brain import PretrainingBrain, PretrainingSettings, span_mask
from wavcube.pretraining.cluster_targets import CepstralFeatures, ClusterTargets, EncoderFeatures
from wavcube.pretraining.corruption import add_coloured_noise, limit_band, mix_utterances
from wavcube.testing import tiny_ssl_encoder, tone


def test_spans_hide_whole_runs_of_valid_frames():
    frames = torch.tensor([200, 60, 1])
    hidden = span_mask(frames, 200, probability=0.02, span=10)
    assert hidden.any(1).all()
    assert not hidden[1, 60:].any()
    assert not hidden[2, 1:].any()
    run = 0
    for value in hidden[0, :-10].tolist():
        if run and not value:
            assert run >= 10
        run = run + 1 if value else 0


def test_hidden_share_follows_the_probability():
    hidden = span_mask(torch.full((20,), 1000), 1000, probability=0.065, span=10)
    expected = 1 - (1 - 0.065) ** 10
    assert abs(hidden.float().mean() - expected) < 0.03


def test_cepstra_ignore_padding_and_gain():
    features = CepstralFeatures(16000, 320)
    wav = tone(1.0)
    padded = torch.cat([wav, torch.zeros(16000)])[None]
    alone = features(wav[None], torch.tensor([16000]))
    batched = features(padded, torch.tensor([16000]))[:, :50]
    for normalised in (alone, batched):
        assert normalised.mean(1).abs().max() < 1e-4
    # the last frames' windows and differences reach into the padding, and so into mean and scale
    pair = torch.stack([alone[:, :40].flatten(), batched[:, :40].flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.99
    louder = features(2 * wav[None], torch.tensor([16000]))
    torch.testing.assert_close(alone, louder, atol=1e-3, rtol=0)


def test_targets_tell_sounds_apart():
    wavs = torch.stack([torch.sin(torch.arange(16000) * 0.1), torch.randn(16000)])
    targets = ClusterTargets(EncoderFeatures(tiny_ssl_encoder("filterbank_wavlm"), 1), 2)
    samples = torch.full((2,), 16000)
    targets.fit([(wavs, samples)])
    classes = targets(wavs, samples)[:, 2:-2]
    assert (classes[0] == classes[0, 0]).all()
    assert (classes[1] == classes[1, 0]).all()
    assert classes[0, 0] != classes[1, 0]


def test_mixing_covers_at_most_half_at_the_drawn_ratio():
    wavs = torch.randn(16, 4000)
    mixed = mix_utterances(wavs, 1.0, (10.0, 10.0))
    added = mixed - wavs
    touched = added.abs() > 1e-6
    assert (touched.sum(1) <= 2000).all()
    assert touched.any(1).all()
    assert torch.equal(mix_utterances(wavs, 0.0, (0.0, 0.0)), wavs)


def test_noise_has_the_drawn_ratio():
    wavs = torch.randn(4, 8000)
    noise = add_coloured_noise(wavs, 1.0, (10.0, 10.0)) - wavs
    ratio = 10 * torch.log10(wavs.square().mean(1) / noise.square().mean(1))
    torch.testing.assert_close(ratio, torch.full((4,), 10.0), atol=1e-2, rtol=0)


def test_band_limit_removes_the_top_only():
    wavs = torch.randn(3, 8000)
    spectrum = torch.fft.rfft(limit_band(wavs, 1.0, (4000.0, 4000.0), 16000)).abs()
    assert spectrum[:, 2001:].max() < 1e-3
    torch.testing.assert_close(
        spectrum[:, :2000], torch.fft.rfft(wavs).abs()[:, :2000], atol=1e-3, rtol=0
    )


def test_probe_cannot_use_what_tells_groups_apart():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    groups = [f"speaker{index % 3}" for index in range(60)]
    noise = torch.randn(60, 4, generator=generator).numpy()
    chance = leave_one_group_out(noise, labels.tolist(), groups)
    informed = leave_one_group_out(noise + 5 * labels[:, None].numpy(), labels.tolist(), groups)
    assert all(value < 0.9 for value in chance.values())
    assert all(value == 1.0 for value in informed.values())


def test_a_batch_of_short_items_has_no_frames_beyond_them():
    targets = ClusterTargets(CepstralFeatures(16000, 320), 2)
    wavs = torch.zeros(2, 32000)
    wavs[:, :8000] = torch.randn(2, 8000)
    samples = torch.tensor([8000, 6400])
    targets.fit([(wavs, samples)])
    assert targets(wavs, samples).shape == (2, 25)
    settings = PretrainingSettings(updates=1, clusters=2)
    brain = PretrainingBrain(
        tiny_ssl_encoder("filterbank_wavlm"), targets, settings, run_opts={"device": "cpu"}
    )
    batch = PaddedBatch([{"wav": wav} for wav in wavs])
    batch.wav.lengths[:] = samples / 32000
    prediction = brain.compute_forward(batch, Stage.TRAIN)
    assert prediction.logits.shape == (2, 25, 2)
    assert not (prediction.hidden | prediction.visible)[1, 20:].any()


def test_a_frozen_layer_equals_the_encoder_s_normalised_state():
    encoder = tiny_ssl_encoder("filterbank_wavlm").eval()
    wav = tone(0.5)[None]
    samples = torch.tensor([wav.shape[1]])
    with torch.no_grad():
        state = encoder(wav).states[1]
        expected = torch.nn.functional.layer_norm(state, (encoder.dim,), eps=1e-5)
        torch.testing.assert_close(EncoderFeatures(encoder, 1)(wav, samples), expected)
