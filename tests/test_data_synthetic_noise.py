"""Noises and rooms of the package's own: what they are said to be, the same twice, none shared."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from test_data_synthetic import digest

from wavcube.data.synthetic import make_synthetic_noises, noise

RATE = 16000
TINY = {
    "seconds": 0.5,
    "train_files": 2,
    "valid_files": 1,
    "test_files": 1,
    "rooms": 2,
    "progress": False,
}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return make_synthetic_noises(tmp_path_factory.mktemp("cache"), **TINY)


@pytest.mark.parametrize("name", noise.NOISES)
def test_a_noise_is_level_finite_and_another_for_another_seed(name):
    first, again, other = (noise.NOISES[name](rng(s), 3 * RATE, RATE) for s in (0, 0, 1))
    assert np.isfinite(first).all()
    assert np.sqrt(np.mean(first**2)) == pytest.approx(1.0)
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.2


def bands(samples):
    """Share of the energy of each tenth of the spectrum."""
    energy = np.abs(np.fft.rfft(samples)) ** 2
    parts = np.array([part.sum() for part in np.array_split(energy, 10)])
    return parts / parts.sum()


def test_colours_differ_from_file_to_file():
    low = [bands(noise.coloured(rng(seed), RATE, RATE))[0] for seed in range(20)]
    assert min(low) < 0.1
    assert max(low) > 0.9


def test_gusts_change_in_time_and_coloured_noise_does_not():
    def swing(samples):
        levels = 10 * np.log10([np.mean(part**2) for part in np.array_split(samples, 30)])
        return float(np.std(levels))

    seeds = range(5)
    steady = np.mean([swing(noise.coloured(rng(s), 6 * RATE, RATE)) for s in seeds])
    assert np.mean([swing(noise.gusts(rng(s), 6 * RATE, RATE)) for s in seeds]) > 2 * steady


def test_hum_is_on_the_mains_harmonics():
    spectrum = np.abs(np.fft.rfft(noise.hum(rng(1), 4 * RATE, RATE))) ** 2
    strongest = np.argsort(spectrum)[-3:] / 4
    offsets = [min(f % 50, -f % 50, f % 60, -f % 60) for f in strongest]
    assert max(offsets) < 1.0


def test_clicks_are_peaky():
    samples = noise.clicks(rng(2), 4 * RATE, RATE)
    kurtosis = np.mean(samples**4) / np.mean(samples**2) ** 2
    # 3 for a normal distribution
    assert kurtosis > 10


def test_babble_needs_somebody_and_mixes_them():
    speech = [np.sin(np.arange(4000) * step) for step in (0.1, 0.37)]
    samples = noise.babble(rng(), RATE, speech, talkers=4)
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(1.0)
    spectrum = np.abs(np.fft.rfft(samples))
    for step in (0.1, 0.37):
        around = np.abs(np.arange(len(spectrum)) * 2 * np.pi / RATE - step) < 0.02
        assert spectrum[around].max() > 20 * np.median(spectrum)
    with pytest.raises(ValueError, match=r"utterances \(0\)"):
        noise.babble(rng(), RATE, [], talkers=4)


def test_a_room_begins_with_its_direct_sound_and_decays():
    for seed in range(10):
        response = noise.room_response(rng(seed), RATE)
        direct = int(np.abs(response).argmax())
        assert direct == 32
        assert not response[:direct].any()
        third = len(response) // 3
        early, late = (np.sum(part**2) for part in (response[:third], response[-third:]))
        # a third of 60 dB and more lies between the two
        assert late < 1e-3 * early


def test_folders_hold_every_kind_and_no_file_twice(folders):
    assert list(folders) == ["train", "valid", "test"]
    kinds = {*noise.NOISES, "babble"}
    names = {
        role: sorted(p.stem for p in found.noises.iterdir()) for role, found in folders.items()
    }
    assert names["train"] == sorted(f"{kind}_{index}" for kind in kinds for index in range(2))
    assert names["valid"] == names["test"] == sorted(f"{kind}_0" for kind in kinds)
    contents = set()
    for found in folders.values():
        assert len(list(found.rooms.iterdir())) == 2
        for path in [*found.noises.iterdir(), *found.rooms.iterdir()]:
            samples, rate = soundfile.read(path)
            assert rate == RATE
            assert np.abs(samples).max() == pytest.approx(0.7, abs=1e-3)
            contents.add(path.read_bytes())
        assert all(soundfile.info(path).duration == 0.5 for path in found.noises.iterdir())
    assert len(contents) == 12 + 6 + 6 + 6


def test_the_same_files_twice(folders, tmp_path):
    again = make_synthetic_noises(tmp_path, **TINY)
    assert digest(again["train"].noises.parents[1]) == digest(folders["train"].noises.parents[1])
    assert make_synthetic_noises(tmp_path, **TINY) == again


@pytest.mark.parametrize(
    "changes", [{"seconds": 0.0}, {"test_files": 0}, {"rooms": 0}, {"sample_rate": 4000}]
)
def test_bad_sizes_are_refused(tmp_path, changes):
    with pytest.raises(ValueError, match="at least"):
        make_synthetic_noises(tmp_path, **{**TINY, **changes})
    assert not list(tmp_path.iterdir())
