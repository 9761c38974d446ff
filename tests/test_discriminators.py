"""Discriminators: sizes, lengths, precision, and parity with stored numbers."""

import zlib

import numpy as np
import pytest
import torch

from wavcube.lobes.decoder.discriminators import (
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
)
from wavcube.losses import discriminator_hinge, feature_matching, generator_hinge

FAMILIES = {
    "mpd": ("multiperioddisc", 2.0, MultiPeriodDiscriminator),
    "mrd": ("multiresddisc", 1.0, MultiResolutionDiscriminator),
}


def small_period():
    return MultiPeriodDiscriminator(periods=(2, 5), channels=(4, 8, 8))


def small_resolution():
    return MultiResolutionDiscriminator(fft_sizes=(256, 128), channels=4)


def weight_by_rule(name, shape, base):
    """The stored numbers' own rule for weights, so that 82 MB need not be kept."""
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("weight_g"):
        noise = base + 0.25 * noise
    elif name.endswith("bias"):
        noise = 0.1 * noise
    return torch.from_numpy(noise.astype(np.float16).astype(np.float32))


def official_state(module, prefix, base):
    """State of official names (weight_g, weight_v) for a module of ours."""
    state = {}
    for name, value in module.state_dict().items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        name = name.replace("parametrizations.weight.original1", "weight_v")
        state[name] = weight_by_rule(f"{prefix}.{name}", tuple(value.shape), base)
    return state


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "goldens" / "golden_losses.npz")


@pytest.fixture(scope="module")
def judged(golden):
    """Each family's scores and maps of the stored real and generated waveforms."""
    real, fake = torch.from_numpy(golden["y"]), torch.from_numpy(golden["y_hat"])
    fake.requires_grad_()
    results = {"y_hat": fake}
    for key, (prefix, base, family) in FAMILIES.items():
        module = family()
        module.load_state_dict(official_state(module, prefix, base))
        module.requires_grad_(False)
        results[key] = (module(real), module(fake))
    return results


def test_paper_sizes():
    period, resolution = (
        sum(p.numel() for p in family().parameters())
        for family in (MultiPeriodDiscriminator, MultiResolutionDiscriminator)
    )
    assert round(period / 1e6, 1) == 41.1
    assert round(resolution / 1e6, 2) == 1.41


def test_stored_weights_follow_the_rule(shared):
    stored = np.load(shared / "goldens" / "golden_losses_mrd_fp16.npz")
    state = official_state(MultiResolutionDiscriminator(), "multiresddisc", 1.0)
    assert {f"multiresddisc.{name}" for name in state} == set(stored.files)
    for name, value in state.items():
        np.testing.assert_array_equal(value, stored[f"multiresddisc.{name}"].astype(np.float32))


@pytest.mark.parametrize("key", ["mpd", "mrd"])
def test_scores_and_maps_equal_golden(golden, judged, key):
    (_, real_maps), (fake_scores, _) = judged[key]
    assert [len(maps) for maps in real_maps] == golden[f"{key}_n_fmaps"].tolist()
    for i, (score, maps) in enumerate(zip(fake_scores, real_maps, strict=True)):
        np.testing.assert_allclose(
            score.detach().numpy(), golden[f"{key}_score_fake_{i}"], rtol=1e-4, atol=2e-5
        )
        means = [values.abs().mean().item() for values in maps]
        np.testing.assert_allclose(means, golden[f"{key}_fmap_real_{i}_absmean"], rtol=1e-5)


@pytest.mark.parametrize("key", ["mpd", "mrd"])
def test_losses_equal_golden(golden, judged, key):
    (real_scores, real_maps), (fake_scores, fake_maps) = judged[key]
    ours = {
        "disc": discriminator_hinge(real_scores, fake_scores),
        "gen": generator_hinge(fake_scores),
        "fm": feature_matching(real_maps, fake_maps),
    }
    for name, value in ours.items():
        assert value.item() == pytest.approx(float(golden[f"{key}_train_{name}"]), rel=1e-5), name


def test_generator_gradient_equals_golden(golden, judged):
    total = 0.0
    for key in FAMILIES:
        (_, real_maps), (fake_scores, fake_maps) = judged[key]
        total = total + generator_hinge(fake_scores) + feature_matching(real_maps, fake_maps)
    assert total.item() == pytest.approx(float(golden["train_gen_gan_total_mrd1"]), rel=1e-5)
    (gradient,) = torch.autograd.grad(total, judged["y_hat"], retain_graph=True)
    expected = torch.from_numpy(golden["grad_yhat_gan_total_mrd1"])
    assert (gradient - expected).norm() / expected.norm() < 1e-4


@pytest.mark.parametrize("build", [small_period, small_resolution, MultiResolutionDiscriminator])
@pytest.mark.parametrize("size", [1, 2, 4, 5, 129, 257, 1025, 1999])
def test_any_length_is_taken(build, size):
    scores, maps = build()(torch.randn(1, size))
    assert all(score.isfinite().all() and score.numel() for score in scores)
    assert all(values.isfinite().all() for stack in maps for values in stack)


@pytest.mark.parametrize("build", [small_period, small_resolution])
def test_an_item_does_not_depend_on_its_batch(build):
    module, wavs = build(), torch.randn(3, 1000)
    wavs[1] *= 100
    together, alone = module(wavs)[0], module(wavs[2:])[0]
    for batch, single in zip(together, alone, strict=True):
        torch.testing.assert_close(batch[2:], single)


@pytest.mark.parametrize("build", [small_period, small_resolution])
def test_training_reaches_every_parameter_and_the_waveform(build):
    module, wavs = build(), torch.randn(2, 1000, requires_grad=True)
    scores, maps = module(wavs)
    (generator_hinge(scores) + sum(m.square().mean() for stack in maps for m in stack)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    assert wavs.grad.abs().sum() > 0


def test_loudness_and_offset_are_no_evidence_to_the_resolution_family():
    module, wavs = small_resolution(), torch.randn(1, 1000)
    for first, second in zip(module(wavs)[0], module(0.01 * wavs + 3)[0], strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)


def test_silence_has_finite_gradients():
    wavs = torch.zeros(1, 1000, requires_grad=True)
    for build in (small_period, small_resolution):
        generator_hinge(build()(wavs)[0]).backward()
    assert wavs.grad.isfinite().all()


def test_spectrogram_is_float32_under_autocast(monkeypatch):
    seen = []
    original = torch.stft

    def spy(wavs, *args, **kwargs):
        seen.append((wavs.dtype, torch.is_autocast_enabled("cpu")))
        return original(wavs, *args, **kwargs)

    monkeypatch.setattr(torch, "stft", spy)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, _ = small_resolution()(torch.randn(1, 1000).bfloat16())
    assert seen == [(torch.float32, False)] * 2
    assert scores[0].dtype == torch.bfloat16  # the convolutions do follow autocast


@pytest.mark.parametrize("build", [small_period, small_resolution])
def test_configuration_rebuilds_the_same_module(build):
    module = build()
    again = type(module)(**module.config())
    again.load_state_dict(module.state_dict())
    wavs = torch.randn(1, 700)
    torch.testing.assert_close(module(wavs)[0][0], again(wavs)[0][0])


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="odd kernel size"):
        MultiPeriodDiscriminator(kernel_size=4)
    with pytest.raises(ValueError, match="rise from 0 to 1"):
        MultiResolutionDiscriminator(bands=(0.0, 0.5, 0.4, 1.0))
    with pytest.raises(ValueError, match="longer window"):
        MultiResolutionDiscriminator(fft_sizes=(16,))
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        small_period()(torch.zeros(1, 1, 100))
