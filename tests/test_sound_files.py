"""Sound files as people have them: every container and codec, whole, cut short and streamed."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from releases import random_release

from wavcube.data.audio import LongAudio, inspect_audio, read_audio
from wavcube.data.crops import CropDataset
from wavcube.data.prepare import CORPUS_SUFFIXES
from wavcube.data.sound_file import SoundFile
from wavcube.features import FeatureFolder

RATE = 16000
SPEECH = (0.1 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32)
DOCUMENT = Path(__file__).parents[1] / "docs" / "sound_files.md"

# suffix, libsndfile's container, its codecs
KINDS = [
    ("wav", "WAV", ("PCM_16", "FLOAT", "ULAW", "IMA_ADPCM", "MS_ADPCM")),
    ("wav", "WAV", ("GSM610", "G721_32", "NMS_ADPCM_16")),
    ("wav", "RF64", ("PCM_16", "FLOAT")),
    ("w64", "W64", ("PCM_16", "GSM610")),
    ("aiff", "AIFF", ("PCM_16", "GSM610", "DWVW_16")),
    ("au", "AU", ("PCM_16", "ULAW", "G721_32", "G723_24")),
    ("sph", "NIST", ("PCM_16", "ULAW")),
    ("wav", "NIST", ("PCM_16",)),
    ("caf", "CAF", ("PCM_16", "ALAC_16")),
    ("flac", "FLAC", ("PCM_16",)),
    ("ogg", "OGG", ("VORBIS", "OPUS")),
    ("mp3", "MP3", ("MPEG_LAYER_III",)),
    ("wav", "VOC", ("PCM_16", "ULAW")),
]
# the two that no command can tell from a shorter recording, since their headers hold no length
NO_LENGTH = [("wav", "IRCAM", ("PCM_16",))]
ALL = [(s, c, codec) for s, c, codecs in KINDS for codec in codecs]


def make(folder, suffix, container, codec, samples=SPEECH):
    path = folder / f"{container.lower()}_{codec.lower()}_{suffix}.{suffix}"
    soundfile.write(path, samples, RATE, codec, format=container)
    return path


def cut(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def streamed(path, container):
    """Write the sizes that a writer leaves which cannot seek back; None where there are none."""
    data = bytearray(path.read_bytes())
    if container == "WAV":
        at = data.index(b"data") + 4
        data[4:8] = data[at : at + 4] = b"\xff\xff\xff\xff"
    elif container == "AU":
        data[8:12] = b"\xff\xff\xff\xff"
    elif container == "FLAC":  # 36 bits of STREAMINFO
        data[21] &= 0xF0
        data[22:26] = bytes(4)
    else:
        return None
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ALL, ids="-".join)
def test_a_whole_file_is_read_to_its_end(tmp_path, kind):
    path = make(tmp_path, *kind)
    info, wav = inspect_audio(path), read_audio(path, RATE)
    assert len(wav) == info.frames
    assert len(SPEECH) <= info.frames < len(SPEECH) + 1024  # codecs of fixed blocks fill the last
    torch.testing.assert_close(torch.cat(list(LongAudio(path, RATE).blocks())), wav)
    with SoundFile(path) as file:
        for first in (9000, 100, info.frames - 50):
            part = file.read_from(first, 300)[:, 0]
            torch.testing.assert_close(part, wav[first : first + 300], atol=1e-6, rtol=0)
    row = {"ID": "a", "wav": str(path), "duration": info.duration}
    crop = CropDataset([row], crop_seconds=0.25, crops_per_epoch=1, sample_rate=RATE, seed=0).read(
        str(path), 0.5
    )
    start = int(0.5 * (info.frames - 4000 + 1))
    torch.testing.assert_close(crop, wav[start : start + 4000], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [k for k in ALL if k[0] in ("ogg", "mp3", "flac")], ids="-".join)
def test_seeking_finds_its_place(tmp_path, kind):
    """libsndfile alone loses it in Vorbis, in the last page and from the second time on."""
    path = make(tmp_path, *kind, np.tile(SPEECH, 8))
    wav = read_audio(path, RATE)
    with SoundFile(path) as file:
        for first in [*range(7, len(wav), 7001), *range(100, len(wav), 50001)]:
            part = file.read_from(first, 300)[:, 0]
            torch.testing.assert_close(part, wav[first : first + 300], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ALL, ids="-".join)
def test_a_file_cut_short_is_refused(tmp_path, kind):
    path = cut(make(tmp_path, *kind))
    # CAF's reader refuses it as a whole
    reason = "not an audio file" if kind[1] == "CAF" else "truncated"
    for read in (inspect_audio, lambda name: read_audio(name, RATE)):
        with pytest.raises(ValueError, match=reason):
            read(path)


@pytest.mark.parametrize("kind", [k for k in ALL if k[1] in ("WAV", "AU", "FLAC")], ids="-".join)
def test_a_stream_of_unknown_length_is_read_to_its_end(tmp_path, kind):
    path = make(tmp_path, *kind)
    whole = read_audio(path, RATE)
    wav = read_audio(streamed(path, kind[1]), RATE)
    assert len(whole) <= len(wav) == inspect_audio(path).frames < len(whole) + 1024
    torch.testing.assert_close(wav[: len(whole)], whole)


def patched(tmp_path, riff, data, size=None, behind=b""):
    path = make(tmp_path, "wav", "WAV", "PCM_16")
    content = bytearray(path.read_bytes() + behind)
    content[4:8], content[40:44] = struct.pack("<I", riff), struct.pack("<I", data)
    path.write_bytes(content[:size])
    return path


@pytest.mark.parametrize("riff", [20036, 0, 0xFFFFFFFF])
def test_the_size_of_the_data_counts(tmp_path, riff):
    with pytest.raises(
        ValueError, match="truncated: its header promises 96000 bytes, there are 20"
    ):
        inspect_audio(patched(tmp_path, riff, 96000, size=20044))


@pytest.mark.parametrize(
    "sizes", [(0, 0xFFFFFFFF), (0x7FFFF024, 0x7FFFF000), (0xFFFFFFFF, 0x7FFFFFFF)]
)
def test_sizes_left_open_promise_nothing(tmp_path, sizes):
    assert inspect_audio(patched(tmp_path, *sizes)).frames == len(SPEECH)


def test_large_files_that_are_cut_are_told_from_streams(tmp_path):
    with pytest.raises(ValueError, match="truncated: its header promises 3000000036 bytes"):
        inspect_audio(patched(tmp_path, 3000000036, 3000000000))


@pytest.mark.parametrize("riff", [0, 36, 96036])
def test_data_of_no_size_are_told(tmp_path, riff):
    with pytest.raises(
        ValueError, match="holds no samples by its header, which 96000 bytes follow"
    ):
        inspect_audio(patched(tmp_path, riff, 0))


def test_what_stands_behind_the_samples_is_told(tmp_path, caplog):
    assert inspect_audio(patched(tmp_path, 1036, 1000)).frames == 500
    assert "95000 bytes behind its 500 samples are not read" in caplog.text
    caplog.clear()
    chunk = b"LIST\x14\0\0\0INFOISFT\x08\0\0\0abcdefg\0"
    for behind in (chunk, b"TAG" + b"a" * 125, bytes(100)):
        assert inspect_audio(patched(tmp_path, 96036, 96000, behind=behind)).frames == len(SPEECH)
    assert not caplog.text


def test_an_ogg_stream_that_goes_on_is_told(tmp_path, caplog):
    path = make(tmp_path, "ogg", "OGG", "OPUS")
    data = path.read_bytes()
    path.write_bytes(data[: data.rfind(b"OggS")])
    assert 0 < inspect_audio(path).frames < len(SPEECH)
    assert "its last page is not marked as the end" in caplog.text


def test_there_is_no_table_of_what_cannot_be_known(tmp_path):
    for kind in NO_LENGTH:
        path = cut(make(tmp_path, *kind[:2], kind[2][0]))
        assert inspect_audio(path).frames < len(SPEECH)


def files_taken(verb, folder, out, source):
    """Run a command on a folder; give the names of the files that it has taken."""
    base = [sys.executable, "-m", "wavcube", verb]
    made, model = out / verb, ["--source", source, "--device", "cpu"]
    if verb == "info":
        said = subprocess.run([*base, folder], capture_output=True, text=True, check=False).stdout
        return {Path(line).stem for line in said.splitlines() if line and not line.startswith(" ")}
    if verb == "extract":
        subprocess.run([*base, folder, made, *model, "--max-bad", "1"], check=False)
        return {Path(name).name for name in FeatureFolder(made)}
    if verb == "evaluate":
        scores = out / "scores.json"
        subprocess.run([*base, folder, folder, "--json", scores, "--metrics", "stoi"], check=False)
        clips = json.loads(scores.read_text())["files"]
        return {Path(clip["name"]).name for clip in clips if clip["scores"]}
    if verb == "manifest":
        subprocess.run([*base, folder, out / "all.jsonl", "--max-bad", "1"], check=False)
        lines = (out / "all.jsonl").read_text().splitlines()
        return {Path(json.loads(line)["path"]).stem for line in lines}
    subprocess.run([*base, folder, "--out", made, *model], check=False)
    return {path.stem for path in made.rglob("*.*")}


@pytest.mark.slow
def test_every_command_takes_what_is_whole_and_refuses_what_is_cut(tmp_path):
    """The table of docs/sound_files.md, made anew."""
    source = str(random_release(tmp_path / "model"))
    states = {"whole": lambda path, container: path, "cut": lambda path, container: cut(path)}
    states["streamed"] = streamed
    there = set()
    for state, change in states.items():
        (tmp_path / "sounds" / state).mkdir(parents=True)
        for kind in ALL:
            path = make(tmp_path / "sounds" / state, *kind)
            path = path.rename(path.with_stem(f"{path.stem}_{state}"))
            if change(path, kind[1]) is None:
                path.unlink()
            else:
                there.add(path.stem)
    verbs = ("info", "encode", "resynth", "extract", "manifest", "evaluate")
    taken = {verb: files_taken(verb, tmp_path / "sounds", tmp_path, source) for verb in verbs}
    rows = ["| file | whole | cut to 60 % | streamed |", "|---|---|---|---|"]
    for suffix, container, codec in ALL:
        cells = []
        looked = verbs if f".{suffix}" in CORPUS_SUFFIXES else set(verbs) - {"extract", "manifest"}
        for state in states:
            name = f"{container.lower()}_{codec.lower()}_{suffix}_{state}"
            said = {"read" if name in taken[verb] else "refused" for verb in looked}
            cells.append(" and ".join(sorted(said)) if name in there else "")
        rows.append(f"| {container} {codec}, .{suffix} | {' | '.join(cells)} |")
    assert "\n".join(rows) in DOCUMENT.read_text(), "\n".join(rows)
