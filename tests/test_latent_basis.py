"""The latent's coordinates: chosen after training, and without loss."""

import pickle

import pytest
import torch
from releases import CARD

from wavcube import WavCube
from wavcube.latent.coordinates import fit_latent_basis
from wavcube.lobes.bottleneck import LatentBasis
from wavcube.release.folder import load_release, write_release
from wavcube.testing import tiny_wavcube, tone

DIM, WIDTH = 8, 16


def statistics(latents, features):
    mean, count = latents.mean(0), len(latents)
    cross = (latents - mean).T @ (features - features.mean(0)) / count
    return mean, torch.cov(latents.T, correction=0), cross


@pytest.fixture
def frames():
    torch.manual_seed(0)
    turned, _ = torch.linalg.qr(torch.randn(DIM, DIM))
    latents = (torch.randn(500, DIM) * torch.linspace(0.3, 3.0, DIM)) @ turned + 3.0
    return latents, latents @ torch.randn(DIM, WIDTH) + 0.1 * torch.randn(500, WIDTH)


@pytest.fixture
def fitted(frames):
    basis = LatentBasis(DIM)
    basis.fit(*statistics(*frames))
    return basis


@pytest.fixture
def speech():
    return [{"wav": tone(2.0 + index, seed=index)} for index in range(3)]


@pytest.fixture
def model(speech):
    torch.manual_seed(1)
    model = tiny_wavcube(with_skip=True, with_basis=True)
    fit_latent_basis(model, speech, progress=False)
    return model


def plain_copy(model):
    """The same weights without a basis."""
    plain = tiny_wavcube(with_skip=True)
    weights = model.state_dict().items()
    plain.load_state_dict({k: v for k, v in weights if not k.startswith("latent_basis.")})
    return plain


def test_it_changes_nothing_before_it_is_fitted(frames):
    basis = LatentBasis(DIM)
    assert not basis.is_fitted
    assert torch.equal(basis(frames[0]), frames[0])


def test_dimensions_are_white(frames, fitted):
    changed = fitted(frames[0])
    assert fitted.is_fitted
    assert changed.mean(0).abs().max() < 1e-5
    assert (torch.cov(changed.T, correction=0) - torch.eye(DIM)).abs().max() < 1e-3


def test_the_first_dimensions_restore_most_of_the_feature(frames, fitted):
    changed, feature = fitted(frames[0]), frames[1] - frames[1].mean(0)
    restored = (changed.T @ feature / len(feature)).square().sum(1)  # of white dimensions
    assert bool((restored.diff() < 1e-6 * restored[0]).all())
    own = frames[0] - frames[0].mean(0)
    single = (own.T @ feature / len(feature)).square().sum(1) / own.square().mean(0)
    assert restored[0] > single.max(), "no dimension of the old coordinates says as much"


@pytest.mark.parametrize("known", [0, 2, 16])
def test_what_the_feature_does_not_know_is_kept(frames, known):
    latents, features = frames
    features = features.clone()
    features[:, known:] = 1.0
    basis = LatentBasis(DIM)
    basis.fit(*statistics(latents, features))
    assert torch.allclose(basis.invert(basis(latents)), latents, atol=1e-3)
    assert (torch.cov(basis(latents).T, correction=0) - torch.eye(DIM)).abs().max() < 1e-3


@pytest.mark.parametrize("left", [0.0, 1e-3])
def test_a_dimension_that_is_almost_dead_stays_quiet(frames, left):
    latents, features = frames[0].clone(), frames[1]
    latents[:, 3] = 2.0 + left * latents[:, 3]
    basis = LatentBasis(DIM)
    basis.fit(*statistics(latents, features))
    assert torch.allclose(basis.invert(basis(latents)), latents, atol=1e-3)
    assert torch.linalg.svdvals(basis.matrix).max() < 32 / latents.var(0).mean().sqrt()


def test_the_inverse_is_that_of_the_stored_matrix(frames, fitted):
    halves = {name: value.half().float() for name, value in fitted.state_dict().items()}
    assert set(halves) == {"mean", "matrix"}
    loaded = LatentBasis(DIM)
    loaded.load_state_dict(halves)
    assert not torch.equal(loaded.matrix, fitted.matrix)
    assert torch.allclose(loaded.invert(loaded(frames[0])), frames[0], atol=1e-4)


def test_autocast_does_not_round_it(frames, fitted):
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(fitted(frames[0]), fitted(frames[0]).float())
        assert torch.allclose(fitted.invert(fitted(frames[0])), frames[0], atol=1e-4)


@pytest.mark.parametrize(("fault", "message"), [(float("nan"), "not finite"), (0.0, "not vary")])
def test_statistics_that_say_nothing_are_refused(frames, fault, message):
    mean, covariance, cross = statistics(*frames)
    basis = LatentBasis(DIM)
    with pytest.raises(ValueError, match=message):
        basis.fit(mean, covariance * fault, cross)
    assert not basis.is_fitted


@pytest.mark.parametrize("fault", [0.0, float("nan")])
def test_a_damaged_file_is_refused(fitted, fault):
    damaged = {name: value * fault for name, value in fitted.state_dict().items()}
    with pytest.raises(ValueError, match=r"latent_basis\.matrix has no inverse"):
        LatentBasis(DIM).load_state_dict(damaged)


def test_half_precision_stays_half(frames, fitted):
    latents = frames[0].half()
    assert fitted(latents).dtype == fitted.invert(latents).dtype == torch.float16


def test_it_travels_between_processes(fitted):
    assert torch.equal(pickle.loads(pickle.dumps(fitted)).inverse, fitted.inverse)


def test_a_fitted_model_makes_the_same_sound_of_other_latents(model):
    wavs, lens = torch.stack([tone(1.0, 5), tone(1.0, 6)]), torch.tensor([1.0, 0.6])
    plain = plain_copy(model)
    latents, frames = model.encode(wavs, lens)
    own, _ = plain.encode(wavs, lens)
    assert (latents - own).abs().max() > 0.1
    sound, expected = model.decode(latents, frames), plain.decode(own, frames)
    assert (sound - expected).abs().max() < 1e-5
    restored, feature = model.semantic(latents, frames), plain.semantic(own, frames)
    assert (restored - feature)[0].abs().max() < 1e-4
    assert latents[1, 30:].abs().max() == 0


def test_training_sees_what_inference_sees(model):
    wavs, lens = torch.stack([tone(1.0, 5), tone(1.0, 6)]), torch.tensor([1.0, 0.6])
    output = model(wavs, lens)
    latents, frames = model.encode(wavs, lens)
    torch.testing.assert_close(output.latents, latents)
    sound = model.decode(latents, frames, length=wavs.shape[1])
    assert (output.audio[0] - sound[0]).abs().max() < 1e-5


def test_a_latent_does_not_depend_on_its_batch(model):
    wavs = torch.stack([tone(1.0, 5), torch.randn(16000)])
    wavs[1, 8000:] = 7.0
    together, _ = model.encode(wavs, torch.tensor([1.0, 0.5]))
    alone, _ = model.encode(wavs[1:, :8000])
    assert (together[1:, :25] - alone).abs().max() < 1e-4


def test_fitting_to_speech(model, speech):
    latents = torch.cat([model.encode(item["wav"][None])[0][0] for item in speech])
    assert latents.mean(0).abs().max() < 1e-3
    assert latents.var(0, correction=0).max().item() == pytest.approx(1.0, abs=1e-2)


def test_little_speech_loses_nothing():
    model = tiny_wavcube(with_skip=True, with_basis=True)
    fit_latent_basis(model, [{"wav": tone(0.08)}], progress=False)  # 4 frames, 8 dimensions
    assert model.latent_basis.is_fitted
    latents = torch.randn(1, 20, model.latent_dim)
    restored = model.latent_basis.invert(model.latent_basis(latents))
    assert (restored - latents).abs().max() < 1e-2


def test_a_single_frame_is_too_little():
    model = tiny_wavcube(with_basis=True)
    with pytest.raises(ValueError, match="not vary"):
        fit_latent_basis(model, [{"wav": tone(0.02)}], progress=False)
    assert not model.latent_basis.is_fitted


def test_of_a_long_recording_its_middle_is_read():
    model, long = tiny_wavcube(with_basis=True), tone(16.0)
    model.latent_basis.fit = lambda mean, *_: middles.append(mean)
    middles = []
    for wav in (long, long[3 * 16000 : 13 * 16000]):
        fit_latent_basis(model, [{"wav": wav}], progress=False)
    torch.testing.assert_close(*middles)


def test_noise_on_the_latents_is_no_louder_than_before(model):
    """Whitening makes quiet directions loud: what is predicted with errors must still decode."""
    wavs, plain = tone(1.0, 5)[None], plain_copy(model)
    torch.manual_seed(3)
    wrong = []
    for each in (model, plain):
        with torch.no_grad():
            latents, _ = each.encode(wavs)
            noise = 0.05 * latents.std((0, 1)) * torch.randn_like(latents)
            wrong.append((each.decode(latents + noise) - each.decode(latents)).norm())
    assert wrong[0] < 2 * wrong[1]


def test_fitting_needs_a_basis():
    with pytest.raises(ValueError, match="no latent_basis"):
        fit_latent_basis(tiny_wavcube(), [{"wav": tone(1.0)}], progress=False)


@torch.no_grad()
def test_a_release_keeps_it(model, tmp_path):
    folder = write_release(model, tmp_path / "release", card=CARD)
    wavs = tone(1.0, 5)[None]
    expected, _ = model.encode(wavs)
    for loaded in (load_release(folder), WavCube.from_hparams(folder).mods.wavcube):
        latents, _ = loaded.encode(wavs)
        torch.testing.assert_close(latents, expected)
        torch.testing.assert_close(loaded.decode(latents), model.decode(latents))
