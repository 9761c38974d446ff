"""Training criteria: closed-form values, padding, precision, and parity with stored numbers."""

import math

import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from wavcube.losses import (
    LogMelSpectrogram,
    MelLoss,
    MultiScaleMelLoss,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
    kl_divergence,
    semantic_loss,
    weighted_sum,
)


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "goldens" / "golden_losses.npz")


def relative(value, expected):
    value, expected = (torch.as_tensor(x).detach().double() for x in (value, expected))
    return ((value - expected).abs() / expected.abs()).item()


# weighted_sum


def test_weighted_sum_adds_by_name():
    terms = {"a": torch.tensor(2.0, requires_grad=True), "b": torch.tensor(3.0)}
    total = weighted_sum(terms, {"b": 10.0, "a": 0.5})
    assert total.item() == 31.0
    total.backward()
    assert terms["a"].grad.item() == 0.5


def test_weighted_sum_names_both_differences():
    with pytest.raises(KeyError, match=r"without a weight \['mell'\].*without a term \['mel'\]"):
        weighted_sum({"mell": torch.ones(())}, {"mel": 1.0})
    with pytest.raises(KeyError, match=r"weights without a term \['kl'\]"):
        weighted_sum({"mel": torch.ones(())}, {"mel": 1.0, "kl": 1.0})
    with pytest.raises(ValueError, match="at least one"):
        weighted_sum({}, {})


# semantic


def test_semantic_is_zero_for_equal_and_known_for_opposite_features():
    features = torch.randn(2, 7, 16)
    assert abs(semantic_loss(features, features).item()) < 1e-6
    expected = 4 * features.square().mean() + 2.0
    assert relative(semantic_loss(features, -features), expected) < 1e-6


def test_semantic_ignores_padding_even_nan():
    prediction = torch.randn(2, 6, 8)
    target = torch.randn(2, 6, 8)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    alone = [
        semantic_loss(prediction[i : i + 1, :n], target[i : i + 1, :n]) for i, n in ((0, 6), (1, 3))
    ]
    prediction[1, 3:] = float("nan")
    target[1, 3:] = float("inf")
    prediction.requires_grad_()
    loss = semantic_loss(prediction, target, mask)
    assert relative(loss, sum(alone) / 2) < 1e-6
    loss.backward()
    assert prediction.grad.isfinite().all()
    assert prediction.grad[1, 3:].abs().max() == 0


def test_semantic_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="same shape"):
        semantic_loss(torch.zeros(1, 5, 4), torch.zeros(1, 6, 4))
    with pytest.raises(ValueError, match="mask"):
        semantic_loss(torch.zeros(1, 5, 4), torch.zeros(1, 5, 4), torch.ones(1, 6).bool())


# mel


def test_mel_filter_bank_and_spectrogram_equal_golden(golden):
    log_mel = LogMelSpectrogram(16000)
    np.testing.assert_allclose(log_mel.bands.numpy(), golden["mel_fb"], atol=1e-7)
    spectrogram = log_mel(torch.from_numpy(golden["y"]))
    # stored before the logarithm
    np.testing.assert_allclose(spectrogram.exp().numpy(), golden["mel_spec_y"], rtol=1e-4)


def test_mel_loss_and_gradient_equal_golden(golden):
    generated = torch.from_numpy(golden["y_hat"]).requires_grad_()
    loss = MelLoss(16000)(generated, torch.from_numpy(golden["y"]))
    assert relative(loss, golden["mel_loss"]) < 1e-5
    loss.backward()
    expected = torch.from_numpy(golden["grad_yhat_mel"])
    assert (generated.grad - expected).norm() / expected.norm() < 1e-4


def test_log_mel_equals_torchaudio_at_another_size():
    wavs = torch.randn(2, 5000)
    other = MelSpectrogram(
        8000, n_fft=400, hop_length=160, n_mels=20, power=1.0, norm=None, mel_scale="htk"
    )
    expected = other(wavs).clamp(min=1e-7).log()
    torch.testing.assert_close(LogMelSpectrogram(8000, 20, 400, 160)(wavs), expected)


def test_mel_loss_is_zero_for_equal_and_the_logarithm_of_a_gain():
    loss, wavs = MelLoss(16000), torch.randn(2, 4000)
    assert loss(wavs, wavs).item() == 0.0
    assert loss(wavs * math.e, wavs).item() == pytest.approx(1.0, abs=1e-5)


def test_mel_of_padded_items_is_that_of_the_items_alone():
    log_mel = LogMelSpectrogram(16000)
    lengths = torch.tensor([3000, 1700, 256, 1])
    wavs = torch.randn(4, 3000)
    together = log_mel(wavs, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = log_mel(wavs[i : i + 1, :length])
        assert alone.shape[-1] == log_mel.num_frames(length)
        torch.testing.assert_close(together[i : i + 1, :, : alone.shape[-1]], alone)


def test_mel_loss_ignores_padding():
    loss = MelLoss(16000)
    lengths = torch.tensor([4000, 2500])
    target, generated = torch.randn(2, 4000), torch.randn(2, 4000)
    first = loss(generated, target, lengths)
    generated[1, 2500:] = 100 * torch.randn(1500)
    assert loss(generated, target, lengths).item() == first.item()
    alone = [
        loss(generated[i : i + 1, :n], target[i : i + 1, :n]) for i, n in enumerate([4000, 2500])
    ]
    assert relative(first, sum(alone) / 2) < 1e-5


def test_mel_loss_stays_float32_under_autocast():
    loss, generated, target = MelLoss(16000), torch.randn(1, 4000), torch.randn(1, 4000)
    expected = loss(generated, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(generated, target)
        spectrogram = loss.log_mel(generated.bfloat16())
    assert value.dtype == spectrogram.dtype == torch.float32
    assert value.item() == expected.item()


def test_mel_gradient_is_finite_on_silence():
    generated = torch.zeros(1, 2000, requires_grad=True)
    MelLoss(16000)(generated, torch.zeros(1, 2000)).backward()
    assert generated.grad.isfinite().all()


def test_multi_scale_mel_is_the_mean_of_its_scales_and_known_for_a_gain():
    loss, wavs = MultiScaleMelLoss(16000, (256, 1024), (20, 100)), torch.randn(2, 4000)
    assert loss(wavs, 2 * wavs).item() == pytest.approx(math.log(2), abs=1e-4)
    other = torch.randn(2, 4000)
    scales = [MelLoss(16000, 20, 256, 64), MelLoss(16000, 100, 1024, 256)]
    expected = sum(scale(wavs, other) for scale in scales) / 2
    torch.testing.assert_close(loss(wavs, other), expected)


def test_multi_scale_mel_refuses_bands_that_do_not_pair():
    with pytest.raises(ValueError, match="1 numbers of bands for 2 windows"):
        MultiScaleMelLoss(16000, (256, 512), (20,))


def test_mel_refuses_what_is_not_a_batch_of_waveforms():
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        LogMelSpectrogram(16000)(torch.zeros(16000))
    with pytest.raises(ValueError, match="same shape"):
        MelLoss(16000)(torch.zeros(1, 2000), torch.zeros(1, 2001))


# adversarial


def test_hinge_is_zero_once_the_margin_is_kept():
    assert discriminator_hinge([torch.tensor([1.0, 4.0])], [torch.tensor([-1.0, -2.0])]) == 0
    assert generator_hinge([torch.tensor([1.0, 9.0])]) == 0


def test_hinge_is_a_mean_over_discriminators_whatever_their_sizes():
    real = [torch.zeros(1, 3), torch.full((2, 50), -1.0)]
    fake = [torch.zeros(1, 3), torch.full((2, 50), 1.0)]
    assert discriminator_hinge(real, fake).item() == pytest.approx(((1 + 1) + (2 + 2)) / 2)
    assert generator_hinge(fake).item() == pytest.approx((1 + 0) / 2)


def test_feature_matching_is_zero_for_equal_maps_and_moves_only_the_generated():
    real = [[torch.randn(2, 3, requires_grad=True)]]
    fake = [[torch.randn(2, 3, requires_grad=True)]]
    assert feature_matching(real, real).item() == 0.0
    feature_matching(real, fake).backward()
    assert real[0][0].grad is None
    assert fake[0][0].grad.abs().sum() > 0


def test_adversarial_losses_are_float32_for_16_bit_scores():
    scores = [0.1 * torch.randn(2, 30).bfloat16()]
    exact = [scores[0].float()]
    # not only the result's type: one 16-bit operation would already be off by 1e-3
    torch.testing.assert_close(
        discriminator_hinge(scores, scores), discriminator_hinge(exact, exact)
    )
    torch.testing.assert_close(generator_hinge(scores), generator_hinge(exact))
    shifted = [[scores[0] + 1]], [[(scores[0] + 1).float()]]
    torch.testing.assert_close(
        feature_matching([scores], shifted[0]), feature_matching([exact], shifted[1])
    )
    assert discriminator_hinge(scores, scores).dtype == torch.float32


def test_adversarial_losses_refuse_lists_that_do_not_pair():
    one, two = [torch.zeros(1)], [torch.zeros(1), torch.zeros(1)]
    with pytest.raises(ValueError, match="1 and 2"):
        discriminator_hinge(one, two)
    with pytest.raises(ValueError, match="2 and 1"):
        feature_matching([two], [one])
    with pytest.raises(ValueError, match=">= 1"):
        generator_hinge([])


# regularisers


def test_kl_is_zero_for_the_unit_gaussian_and_known_for_others():
    zeros = torch.zeros(1, 5, 3)
    assert kl_divergence(zeros, zeros).item() == 0.0
    # N(m, s^2) to N(0, 1): (m^2 + s^2 - 1)/2 - ln s, for each of three dimensions
    expected = 3 * ((4 + 9 - 1) / 2 - math.log(3))
    value = kl_divergence(zeros + 2, zeros + 2 * math.log(3))
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_kl_ignores_padding():
    mu, log_variance = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    alone = [
        kl_divergence(mu[i : i + 1, :n], log_variance[i : i + 1, :n]) for i, n in ((0, 4), (1, 1))
    ]
    expected = sum(alone) / 2
    mu[1, 1:] = float("nan")
    assert relative(kl_divergence(mu, log_variance, mask), expected) < 1e-6


def test_kl_equals_golden(shared):
    stored = np.load(shared / "goldens" / "golden_C" / "io.npz")
    value = kl_divergence(
        torch.from_numpy(stored["infer_batch2_mu"]),
        torch.from_numpy(stored["infer_batch2_log_var"]),
    )
    assert relative(value, stored["train_kl_loss"]) < 1e-5


def test_feature_losses_are_float32_under_autocast():
    features = torch.randn(1, 4, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert semantic_loss(features, -features).dtype == torch.float32
        assert kl_divergence(features, features).dtype == torch.float32
