"""VCTK's two layouts and VoiceBank-DEMAND's two namings to manifests."""

from __future__ import annotations

import pytest
import soundfile
from sounds import audio

from wavcube.data.corpora import vctk, voicebank
from wavcube.data.crops import utterance_dataset
from wavcube.data.manifest import read_manifest


def add_text(root, speaker, index):
    path = root / "txt" / speaker / f"{speaker}_{index:03d}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("Please  call Stella.\n")


@pytest.fixture
def version_092(tmp_path):
    root = tmp_path / "092"
    for speaker in ("p225", "p226", "p227", "s5"):
        for index in (1, 2):
            microphones = ("mic1",) if speaker == "p226" else ("mic1", "mic2")
            for microphone in microphones:
                folder = root / "wav48_silence_trimmed" / speaker
                audio(folder / f"{speaker}_{index:03d}_{microphone}.flac")
            add_text(root, speaker, index)
    return root


@pytest.fixture
def version_080(tmp_path):
    root = tmp_path / "080"
    for speaker in ("p225", "p226", "p227"):
        for index in (1, 2):
            audio(root / "wav48" / speaker / f"{speaker}_{index:03d}.wav")
            if speaker != "p227":
                add_text(root, speaker, index)
    return root


SPEAKERS = {"valid_speakers": ["p226"], "test_speakers": ["p225"], "progress": False}


def rows_of(manifests, root):
    return {name: read_manifest(path, root) for name, path in manifests.items()}


def test_version_092_has_one_microphone_in_the_manifest(version_092, tmp_path):
    rows = rows_of(vctk.prepare_vctk(version_092, tmp_path / "out", **SPEAKERS), version_092)
    assert {name: sorted({row.spk_id for row in found}) for name, found in rows.items()} == {
        "train": ["p227", "s5"],
        "valid": ["p226"],
        "test": ["p225"],
    }
    assert [row.ID for row in rows["train"]] == ["p227_001", "p227_002", "s5_001", "s5_002"]
    assert all(row.wav.endswith("_mic1.flac") for found in rows.values() for row in found)
    assert rows["test"][0].wrd == "Please call Stella."
    assert rows["test"][0].duration == pytest.approx(0.1)


def test_speaker_without_the_other_microphone_is_left_out(version_092, tmp_path, caplog):
    chosen = {**SPEAKERS, "valid_speakers": ["s5"], "microphone": "mic2"}
    rows = rows_of(vctk.prepare_vctk(version_092, tmp_path / "out", **chosen), version_092)
    assert {row.spk_id for row in rows["train"]} == {"p227"}
    assert "without mic2: speakers p226" in caplog.text


def test_version_080_gives_the_same_ids(version_080, tmp_path):
    rows = rows_of(vctk.prepare_vctk(version_080, tmp_path / "out", **SPEAKERS), version_080)
    assert [row.ID for row in rows["train"]] == ["p227_001", "p227_002"]
    assert [row.wrd for row in rows["train"]] == ["", ""]
    assert rows["valid"][0].wrd == "Please call Stella."


def test_files_at_48_khz_are_read_at_the_models_rate(version_080, tmp_path):
    for path in version_080.glob("wav48/*/*.wav"):
        samples, _ = soundfile.read(path)
        soundfile.write(path, samples, 48000)
    rows = rows_of(vctk.prepare_vctk(version_080, tmp_path / "out", **SPEAKERS), version_080)
    assert rows["train"][0].duration == pytest.approx(1600 / 48000, abs=1e-6)
    assert len(utterance_dataset(rows["train"], 16000)[0]["wav"]) == -(-1600 // 3)


def test_second_call_returns_at_once(version_080, tmp_path, monkeypatch):
    first = vctk.prepare_vctk(version_080, tmp_path / "out", **SPEAKERS)
    monkeypatch.setattr(vctk, "check_files", None)
    assert vctk.prepare_vctk(version_080, tmp_path / "out", **SPEAKERS) == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid_speakers": ["p999"]}, r"valid_speakers .*p999.*there are: p225, p226, p227"),
        ({"test_speakers": []}, "test_speakers must name"),
        ({"valid_speakers": ["p225"]}, "p225 are in valid_speakers and test_speakers"),
        ({"valid_speakers": ["p226", "p227"]}, "nobody is left"),
    ],
)
def test_speakers_are_checked(version_080, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        vctk.prepare_vctk(version_080, tmp_path / "out", **{**SPEAKERS, **changes})


def test_wrong_folder_and_empty_transcript_are_named(version_080, tmp_path):
    (tmp_path / "outer" / "VCTK-Corpus").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"pass .*outer/VCTK-Corpus"):
        vctk.prepare_vctk(tmp_path / "outer", tmp_path / "out", **SPEAKERS)
    text = version_080 / "txt" / "p225" / "p225_002.txt"
    text.write_text(" \n")
    with pytest.raises(ValueError, match=r"p225_002.txt: the transcript is empty"):
        vctk.prepare_vctk(version_080, tmp_path / "out", **SPEAKERS)


def test_shared_excerpt_is_read(shared, tmp_path):
    root = shared / "data" / "VCTK-Corpus-0.92"
    rows = rows_of(vctk.prepare_vctk(root, tmp_path / "out", **SPEAKERS), root)
    assert {name: len(found) for name, found in rows.items()} == {
        "train": 10,
        "valid": 10,
        "test": 10,
    }
    assert all(row.wrd for found in rows.values() for row in found)


NAMINGS = {
    "published": ("{}_trainset_28spk_wav", "{}_testset_wav"),
    "resampled": ("{}_trainset_28spk_wav_16k", "{}_testset_wav_16k"),
    "split": ("train/{}", "test/{}"),
    "plain": ("{}", None),
}


def add_pairs(root, naming):
    train, test = NAMINGS[naming]
    for kind in ("noisy", "clean"):
        for speaker in ("p226", "p228", "p230"):
            for index in (1, 2):
                audio(root / train.format(kind) / f"{speaker}_{index:03d}.wav", 0.1 * index)
        if test:
            audio(root / test.format(kind) / "p232_001.wav")
    return root


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_gives_partners_row_by_row(tmp_path, naming):
    root = add_pairs(tmp_path / "data", naming)
    held_out = ["p230"] if naming == "plain" else []
    manifests = voicebank.prepare_voicebank(
        root, tmp_path / "out", valid_speakers=["p226"], test_speakers=held_out, progress=False
    )
    rows = rows_of(manifests, root)
    assert sorted(rows) == sorted(
        f"{r}_{k}" for r in ("train", "valid", "test") for k in ("noisy", "clean")
    )
    for role in ("train", "valid", "test"):
        noisy, clean = rows[f"{role}_noisy"], rows[f"{role}_clean"]
        assert [row.ID for row in noisy] == [row.ID for row in clean]
        assert all("noisy" in row.wav and "clean" not in row.wav for row in noisy)
        assert all("clean" in row.wav for row in clean)
    assert {row.spk_id for row in rows["valid_noisy"]} == {"p226"}
    assert {row.spk_id for row in rows["test_clean"]} == {"p230" if naming == "plain" else "p232"}
    assert "p226" not in {row.spk_id for row in rows["train_noisy"]}


@pytest.mark.parametrize("naming", NAMINGS)
def test_layouts_are_told_apart(version_080, version_092, tmp_path, naming):
    add_pairs(tmp_path / "pairs", naming)
    assert voicebank.is_voicebank(tmp_path / "pairs")
    assert not vctk.is_vctk(tmp_path / "pairs")
    for folder in (version_080, version_092):
        assert vctk.is_vctk(folder)
        assert not voicebank.is_voicebank(folder)
    assert not voicebank.is_voicebank(tmp_path / "nowhere")


def prepare(root, tmp_path, **changes):
    settings = {"valid_speakers": ["p226"], "progress": False, **changes}
    return voicebank.prepare_voicebank(root, tmp_path / "out", **settings)


def test_missing_partner_is_named(tmp_path):
    root = add_pairs(tmp_path / "data", "published")
    (root / "clean_trainset_28spk_wav" / "p228_002.wav").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 files have no partner in .*clean.*noisy.*p228_002"
    ):
        prepare(root, tmp_path)


def test_missing_partner_folder_is_named(tmp_path):
    root = add_pairs(tmp_path / "data", "published")
    (root / "noisy_testset_wav").rename(root / "other")
    with pytest.raises(
        FileNotFoundError, match=r"clean_testset_wav has no partner.*noisy_testset_wav"
    ):
        prepare(root, tmp_path)


def test_partners_of_other_length_are_refused(tmp_path):
    root = add_pairs(tmp_path / "data", "published")
    audio(root / "clean_trainset_28spk_wav" / "p228_001.wav", 0.11)
    with pytest.raises(ValueError, match=r"p228_001.wav has 1600 samples .* 1760 at 16000 Hz"):
        prepare(root, tmp_path)


def test_bad_file_takes_its_partner_along(tmp_path):
    root = add_pairs(tmp_path / "data", "published")
    bad = root / "clean_trainset_28spk_wav" / "p228_001.wav"
    bad.write_bytes(b"")
    manifests = prepare(root, tmp_path, max_bad_fraction=0.5)
    for kind in ("noisy", "clean"):
        names = [row.ID for row in read_manifest(manifests[f"train_{kind}"], root)]
        assert names == ["p228_002", "p230_001", "p230_002"]
    listed = (tmp_path / "out" / "bad_files.csv").read_text()
    assert "noisy_trainset_28spk_wav/p228_001.wav goes with" in listed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid_speakers": ["p999"]}, r"valid_speakers .*p999.*there are: p226, p228, p230"),
        ({"valid_speakers": []}, "valid_speakers must name"),
        ({"test_speakers": ["p228"]}, "leave test_speakers empty"),
        ({"valid_speakers": ["p226", "p228", "p230"]}, "no pair is left for train"),
    ],
)
def test_roles_are_checked(tmp_path, changes, message):
    root = add_pairs(tmp_path / "data", "published")
    with pytest.raises(ValueError, match=message):
        prepare(root, tmp_path, **changes)


def test_other_folders_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(FileNotFoundError, match="neither clean_trainset_28spk_wav"):
        prepare(tmp_path / "data", tmp_path)


def test_shared_pairs_are_matched(shared):
    sides = voicebank.find_sides(shared / "data" / "VoiceBank-DEMAND", "28spk")
    pairs = voicebank.list_pairs(sides["train"])
    assert [noisy.ID for noisy, _ in pairs] == [f"p287_00{i}" for i in (1, 2, 3, 4)]
