"""Mixing: ratios in closed form, rooms that leave the direct path, draws that are pure."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
import torch

from wavcube.data.crops import CropDataset, utterance_dataset
from wavcube.data.manifest import Utterance
from wavcube.data.mixing import signals as mixing
from wavcube.data.mixing.noisy import NoisyDataset, read_piece

RATE = 8000


def sine(periods, amplitude=1.0, size=800):
    return amplitude * torch.sin(2 * math.pi * periods * torch.arange(size) / size)


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 12.5])
def test_mixture_has_the_ratio_asked_for(ratio):
    # powers of the sines: 0.02 and 0.5
    speech, noise = sine(5, 0.2), sine(40)
    mixture, scaled, added = mixing.mix_at_snr(speech, noise, ratio)
    assert mixing.snr_db(scaled, added) == pytest.approx(ratio, abs=1e-4)
    assert mixing.power(added) == pytest.approx(0.02 * 10 ** (-ratio / 10), rel=1e-4)
    torch.testing.assert_close(mixture, scaled + added)
    torch.testing.assert_close(scaled, speech)
    # orthogonal signals: powers add
    assert mixing.power(mixture) == pytest.approx(0.02 * (1 + 10 ** (-ratio / 10)), rel=1e-4)


def test_too_loud_mixture_is_turned_down_as_a_whole():
    speech, noise = sine(5, 0.8), sine(40, 0.1)
    mixture, scaled, added = mixing.mix_at_snr(speech, noise, 0.0)
    assert mixture.abs().max().item() == pytest.approx(0.9)
    assert mixing.snr_db(scaled, added) == pytest.approx(0.0, abs=1e-4)
    torch.testing.assert_close(mixture, scaled + added)


def test_silence_on_either_side_is_defined():
    silence, tone = torch.zeros(800), sine(5, 0.2)
    torch.testing.assert_close(mixing.mix_at_snr(silence, tone, 10.0)[0], tone)
    torch.testing.assert_close(mixing.mix_at_snr(tone, silence, 10.0)[0], tone)
    with pytest.raises(ValueError, match="signal is silent"):
        mixing.snr_db(silence, tone)
    with pytest.raises(ValueError, match="must be equal"):
        mixing.mix_at_snr(tone, tone[:-1], 0.0)


def test_room_keeps_the_direct_sound_in_place():
    speech = torch.randn(200)
    response = torch.zeros(100)
    # direct sound of energy 0.25 around sample 30 (2.5 ms are 20 samples), an echo 35 later
    response[25], response[30], response[65] = 0.3, -0.4, 0.25
    wet, direct = mixing.reverberate(speech, response, RATE, early=0.0025)
    expected = 0.8 * speech
    expected[:-5] -= 0.6 * speech[5:]
    torch.testing.assert_close(direct, expected)
    expected[35:] -= 0.5 * speech[:-35]
    torch.testing.assert_close(wet, expected)
    # the echo is early too: nothing is left to be removed
    wet, early = mixing.reverberate(speech, response, RATE, early=0.005)
    torch.testing.assert_close(wet, early)
    with pytest.raises(ValueError, match="silent"):
        mixing.reverberate(speech, torch.zeros(5), RATE)


@pytest.mark.parametrize("size", [1, 3, 50])
def test_room_keeps_lengths(size):
    response = torch.randn(30)
    assert [len(wav) for wav in mixing.reverberate(torch.randn(size), response, RATE)] == [size] * 2


def test_loop_crossfades_and_never_jumps():
    # the noise starts far from where it ends: an abrupt joint would be a step of 1
    noise = torch.linspace(0, 1, 400)
    looped = mixing.loop_with_fades(noise, 1500, fade=100)
    assert len(looped) == 1500
    assert looped.diff().abs().max() < 0.03
    torch.testing.assert_close(looped[:300], noise[:300])
    torch.testing.assert_close(mixing.loop_with_fades(noise, 250, fade=100), noise[:250])
    assert len(mixing.loop_with_fades(torch.ones(1), 7, fade=100)) == 7


def test_lengths_are_fitted():
    short, long = torch.ones(3), torch.ones(5)
    assert [len(wav) for wav in mixing.fit_lengths([short, long], "min")] == [3, 3]
    padded = mixing.fit_lengths([short, long], "max")
    assert padded[0].tolist() == [1, 1, 1, 0, 0]
    with pytest.raises(ValueError, match="'middle'"):
        mixing.fit_lengths([short], "middle")


def write(path, wav, rate=RATE):
    soundfile.write(path, np.asarray(wav), rate, subtype="FLOAT")
    return Utterance(path.stem, len(wav) / rate, str(path))


@pytest.fixture
def rows(tmp_path):
    rng = np.random.default_rng(0)
    speech = [write(tmp_path / f"s{i}.wav", 0.1 * rng.standard_normal(1600)) for i in range(3)]
    noises = [
        write(tmp_path / f"n{i}.wav", rng.standard_normal(n)) for i, n in enumerate((9000, 300))
    ]
    room = np.zeros(400)
    room[10], room[90] = 1.0, 0.5
    return speech, noises, [write(tmp_path / "room.wav", room)]


def noisy(rows, **changes):
    crops = CropDataset(
        [row.as_dict() for row in rows[0]],
        crop_seconds=0.1,
        crops_per_epoch=12,
        sample_rate=RATE,
        seed=3,
    )
    settings = {"sample_rate": RATE, "seed": 5, "snr_db": (-3.0, 9.0), **changes}
    return NoisyDataset(crops, rows[1], **settings)


def test_items_depend_on_seed_epoch_and_index_alone(rows):
    one, two = noisy(rows), noisy(rows)
    _ = [one[i] for i in range(4)]
    for dataset in (one, two):
        dataset.set_epoch(2)
    assert torch.equal(one[7]["wav"], two[7]["wav"])
    two.set_epoch(3)
    assert one[7]["snr_db"] != two[7]["snr_db"]
    one_crop, two_crop = (item / item.abs().max() for item in (one[7]["clean"], two[7]["clean"]))
    assert not torch.allclose(one_crop, two_crop, atol=1e-3)  # the crops' epoch moves too
    assert one[7]["snr_db"] != one[8]["snr_db"]
    other = noisy(rows, seed=6)
    other.set_epoch(2)
    crop, same_crop = one[7]["clean"], other[7]["clean"]
    torch.testing.assert_close(crop / crop.abs().max(), same_crop / same_crop.abs().max())
    assert other[7]["snr_db"] != one[7]["snr_db"]


def test_drawn_ratio_is_the_ratio_of_the_item(rows):
    dataset = noisy(rows)
    ratios = []
    for index in range(len(dataset)):
        item = dataset[index]
        ratios.append(item["snr_db"])
        found = mixing.snr_db(item["clean"], item["wav"] - item["clean"])
        assert found == pytest.approx(item["snr_db"], abs=1e-3)
        assert item["wav"].abs().max() <= 0.9 + 1e-6
    assert min(ratios) < 1
    assert max(ratios) > 5


def test_target_of_a_room_is_the_early_sound(rows):
    settings = {"rooms": rows[2], "room_probability": 1.0, "snr_db": (120.0, 120.0)}
    dataset = noisy(rows, **settings, early_seconds=0.005)
    item = dataset[0]
    wet = item["clean"].clone()
    wet[80:] += 0.5 * item["clean"][:-80]
    torch.testing.assert_close(item["wav"], wet, atol=2e-5, rtol=0)
    early = noisy(rows, **settings, early_seconds=0.02)[0]
    torch.testing.assert_close(early["wav"], early["clean"], atol=2e-5, rtol=0)
    # a room changes no other draw
    assert noisy(rows, rooms=rows[2], room_probability=1.0)[5]["snr_db"] == noisy(rows)[5]["snr_db"]


def test_validation_hears_the_same_noise_every_time(rows):
    speech = utterance_dataset(rows[0], RATE)
    one, two = (NoisyDataset(speech, rows[1], sample_rate=RATE, seed=1) for _ in range(2))
    assert torch.equal(one[2]["wav"], two[2]["wav"])
    assert one[2]["id"] == "s2"


def test_piece_is_read_at_its_place_and_rate(tmp_path):
    ramp = np.linspace(-1, 1, 1000, dtype=np.float32)
    row = write(tmp_path / "ramp.wav", ramp)
    np.testing.assert_array_equal(read_piece(row.wav, 0.0, 100, RATE), ramp[:100])
    np.testing.assert_array_equal(read_piece(row.wav, 1.0, 100, RATE), ramp[-100:])
    half = write(tmp_path / "half.wav", ramp, RATE // 2)
    assert len(read_piece(half.wav, 0.5, 700, RATE)) == 700
    assert len(read_piece(half.wav, 0.5, 5000, RATE)) == 5000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snr_db": (5.0, 0.0)}, "low to high"),
        ({"room_probability": 0.5}, "no rooms"),
        ({"room_probability": 2.0}, "within 0 and 1"),
    ],
)
def test_wrong_settings_are_refused(rows, changes, message):
    with pytest.raises(ValueError, match=message):
        noisy(rows, **changes)


def test_no_noise_is_refused(rows):
    with pytest.raises(ValueError, match="no noise"):
        noisy((rows[0], [], []))
