"""States on disk are the computed ones, bit for bit, and a killed or broken cache is made good."""

import os

import pytest
import torch

from wavcube.data.audio import write_audio
from wavcube.representations import (
    LatentRepresentation,
    MelRepresentation,
    SSLRepresentation,
    StateCache,
    state_key,
)
from wavcube.testing import tiny_ssl_encoder, tiny_wavcube

WAVS = {f"clip {i}/é": 0.3 * torch.randn(900 + 711 * i) for i in range(5)}
ITEMS = [(key, lambda wav=wav: wav) for key, wav in WAVS.items()]


def shards(cache):
    return sorted(cache.folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    "make",
    [lambda: SSLRepresentation(tiny_ssl_encoder()), lambda: LatentRepresentation(tiny_wavcube())],
    ids=["ssl", "wavcube"],
)
@pytest.mark.parametrize("shard_bytes", [1, 10**9])
def test_cached_states_are_bit_identical(tmp_path, make, shard_bytes):
    representation = make()
    cache = StateCache(tmp_path, representation, shard_bytes)
    assert cache.fill(ITEMS) == 5
    assert len(shards(cache)) == (5 if shard_bytes == 1 else 1)
    for opened in (cache, StateCache(tmp_path, representation)):
        assert opened.fill(ITEMS) == 0
        for key, wav in WAVS.items():
            computed, _ = representation.states(wav[None])
            assert opened[key].equal(computed[0])
        combined = representation.combine(opened[key][None])
        assert combined.equal(representation(wav[None])[0])


def test_nothing_that_is_there_is_read_again(tmp_path):
    cache = StateCache(tmp_path, MelRepresentation(4))
    cache.fill(ITEMS[:2])

    def must_not_be_read():
        raise AssertionError("it was cached")

    assert cache.fill([(ITEMS[0][0], must_not_be_read), *ITEMS[1:], ITEMS[4]]) == 3
    assert len(cache) == 5
    assert ITEMS[0][0] in cache


def test_another_model_has_another_cache(tmp_path):
    first = StateCache(tmp_path, SSLRepresentation(tiny_ssl_encoder()))
    first.fill(ITEMS[:1])
    second = StateCache(tmp_path, SSLRepresentation(tiny_ssl_encoder()))
    assert first.folder != second.folder
    assert len(second) == 0
    with pytest.raises(KeyError, match="fill the cache first"):
        second[ITEMS[0][0]]


def test_a_killed_run_keeps_its_shards_and_goes_on(tmp_path):
    representation = MelRepresentation(4)

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        StateCache(tmp_path, representation, 1).fill([*ITEMS[:3], ("x", killed)])
    cache = StateCache(tmp_path, representation)
    assert len(cache) == 3
    assert cache.fill(ITEMS) == 2


@pytest.mark.parametrize("harm", ["cut", "emptied", "overwritten"])
def test_a_broken_shard_is_computed_again(tmp_path, harm, caplog):
    representation = MelRepresentation(4)
    cache = StateCache(tmp_path, representation, 1)
    cache.fill(ITEMS)
    path = shards(cache)[2]
    content = path.read_bytes()
    harmed = {"cut": content[:-9], "emptied": b"", "overwritten": b"\x80" * len(content)}
    path.write_bytes(harmed[harm])
    again = StateCache(tmp_path, representation, 1)
    assert len(again) == 4
    assert "broken" in caplog.text
    assert again.fill(ITEMS) == 1
    assert path.read_bytes() == content


def test_an_unfinished_shard_is_no_shard(tmp_path, monkeypatch):
    cache = StateCache(tmp_path, MelRepresentation(4))

    def full(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            cache.fill(ITEMS)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert len(cache) == 0
    assert cache.fill(ITEMS) == 5
    (path,) = shards(cache)
    path.rename(path.with_name(f".{path.stem}.partial-1.safetensors"))
    assert len(StateCache(tmp_path, MelRepresentation(4))) == 0
    assert len(shards(cache)) == 1, "a draft may be another process's"


def test_what_changes_or_is_not_finite_is_not_cached(tmp_path):
    fine_tuned = SSLRepresentation(tiny_ssl_encoder(), unfreeze_at=100, lr=1e-5)
    with pytest.raises(ValueError, match="from update 100"):
        StateCache(tmp_path, fine_tuned)
    cache = StateCache(tmp_path, MelRepresentation(4))
    with pytest.raises(ValueError, match="bad: the model gives NaN"):
        cache.fill([("bad", lambda: torch.full((400,), float("nan")))])
    assert len(cache) == 0


def test_a_key_tells_names_and_changed_files_apart(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, torch.zeros(800), 16000)
    key = state_key("a", path)
    assert key == state_key("a", path) != state_key("b", path)
    os.utime(path, ns=(1, 1))
    assert state_key("a", path) != key
    with pytest.raises(FileNotFoundError):
        state_key("a", tmp_path / "none.wav")
