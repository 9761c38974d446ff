"""The latent's coordinates: chosen after training, and without loss."""

import pickle

import pytest
import torch
from releases import CARD

from wavcube import WavCube
from wavcube.brains.latent_coordinates import fit_latent_basis
from wavcube.export import load_release, write_release
from wavcube.lobes.latent_basis import LatentBasis
from wavcube.testing import tiny_wavcube, tone

DIM, WIDTH = 8, 16


def statistics(latents, features):
    mean, count = latents.mean(0), len(latents)
    cross = (latents - mean).T @ (features - features.mean(0)) / count
    return mean, torch.cov(latents.T, correction=0), cross


@pytest.fixture
def frames():
    torch.manual_seed(0)
    latents = torch.randn(500, DIM) @ torch.randn(DIM, DIM) + 3.0
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


def test_distances_become_those_between_restored_features(frames, fitted):
    latents, features = frames
    centred = latents - latents.mean(0)
    restored = centred @ torch.linalg.lstsq(centred, features - features.mean(0)).solution
    ratio = torch.pdist(fitted(latents)) / torch.pdist(restored)
    assert fitted.is_fitted
    assert ratio.std() / ratio.mean() < 1e-3


def test_mean_and_variance(frames, fitted):
    changed = fitted(frames[0])
    assert changed.mean(0).abs().max() < 1e-5
    assert changed.var(0, correction=0).mean().item() == pytest.approx(1.0, abs=1e-4)


def test_what_the_feature_does_not_know_keeps_its_room(frames):
    latents, features = frames
    basis = LatentBasis(DIM)
    basis.fit(*statistics(latents, features[:, :2]))  # fewer directions than the latent has
    assert torch.allclose(basis.invert(basis(latents)), latents, atol=1e-3)
    assert torch.linalg.svdvals(torch.cov(basis(latents).T)).min() > 1e-5


def test_the_inverse_is_that_of_the_stored_matrix(frames, fitted):
    halves = {name: value.half().float() for name, value in fitted.state_dict().items()}
    assert set(halves) == {"mean", "matrix"}
    loaded = LatentBasis(DIM)
    loaded.load_state_dict(halves)
    assert not torch.equal(loaded.matrix, fitted.matrix)
    assert torch.allclose(loaded.invert(loaded(frames[0])), frames[0], atol=1e-4)


def test_autocast_does_not_round_it(frames, fitted):
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fitted(frames[0]), fitted(frames[0]).float())
        assert torch.allclose(fitted.invert(fitted(frames[0])), frames[0], atol=1e-4)


def test_statistics_that_are_not_finite_are_refused(frames):
    mean, covariance, cross = statistics(*frames)
    covariance[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        LatentBasis(DIM).fit(mean, covariance, cross)


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
    assert torch.equal(output.latents, latents)
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
    assert latents.var(0, correction=0).mean().item() == pytest.approx(1.0, abs=1e-3)


def test_little_speech_loses_nothing():
    model = tiny_wavcube(with_skip=True, with_basis=True)
    fit_latent_basis(model, [{"wav": tone(0.08)}], progress=False)  # 4 frames, 8 dimensions
    assert model.latent_basis.is_fitted
    latents = torch.randn(1, 20, model.latent_dim)
    restored = model.latent_basis.invert(model.latent_basis(latents))
    assert (restored - latents).abs().max() < 1e-2


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
        assert torch.equal(latents, expected)
        assert torch.equal(loaded.decode(latents), model.decode(latents))
