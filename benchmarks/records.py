"""Numbers, sounds and texts that a change of the code's layout must leave as they are.

    python -m benchmarks.records write RECORDS.json [--parts latent asr packaged cli ...]
    python -m benchmarks.records compare BEFORE.json AFTER.json [--parts ...]

Each recipe's default command makes 20 updates of fixed seed on synthetic speech, the packaged
models hear fixed sounds, and every verb of the command line is run on a small folder. Runs are kept
in a folder of RECORDS' name, the fixed sounds in `clips` beside it, which the first call makes:
records to be compared belong into one folder. One thread, float32, on the CPU; only what users call
is called, and what may be renamed stands in one table. With WAVCUBE_SHARED, the folder of shared
data, `convert-official` converts a small checkpoint of it; otherwise its refusal is recorded.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml
from safetensors.numpy import load_file
from sentencepiece import SentencePieceProcessor

REPOSITORY = Path(__file__).resolve().parents[1]
PRETRAINED = REPOSITORY / "wavcube" / "pretrained"
RATE = 16000
GOLDEN = "goldens/golden_A"  # a small checkpoint of the research code, in the shared data
TOLERANCE = 1e-6
Records = dict[str, Any]

# ---- names and sizes: all that a restructuring may rename -------------------------------------
CORPORA = "--synthetic_folder"
EVERY = "--precision=fp32 --device=cpu --validate_every=10 --noprogressbar"
SPEECH = "--synthetic_minutes=2"
VOICES = (
    "'--synthetic={train_voices: 4, valid_voices: 1, test_voices: 2, common_sentences: 2, "
    "own_sentences: 4}'"
)
NOISES = (
    "'--synthetic_noise={seconds: 4.0, train_files: 2, valid_files: 1, test_files: 1, rooms: 2}'"
)
TASK = "--updates=20 --warmup=5 --ckpt_interval_steps=10 '--settings={log_every: 1}'"
FEW = "--valid_utterances=3 --test_utterances=3"
LATENT = (
    f"{SPEECH} {FEW} --stage1_updates=20 --stage2_updates=20 --warmup=5 --ckpt_interval_steps=10 "
    "'--stage1={log_every: 1}' '--stage2={log_every: 1, adversarial_start: 10}' --sample_clips=1"
)
SSL = (
    f"{SPEECH} --round1_updates=20 --round2_updates=20 '--round1={{log_every: 1}}' "
    "'--round2={log_every: 1}' --cluster_batches=8 --batch_size=4 --valid_utterances=8"
)
ASR = f"{TASK} {SPEECH} {FEW}"
ENHANCEMENT = f"{TASK} {FEW} {VOICES} {NOISES} --sample_clips=1"
SEPARATION = f"{TASK} {SPEECH} '--mixtures={{train: null, valid: 3, test: 3}}' --sample_clips=1"
CONVERSION = f"{TASK} {VOICES} --copies=1 --valid_utterances=6 --valid_lessons=6 --sample_clips=1"
RECIPES = {  # script, YAML, options
    "latent": ("LibriSpeech/train", "wavcube", LATENT),
    "ssl": ("LibriSpeech/pretrain_ssl", "ssl", SSL),
    "asr": ("LibriSpeech/train_asr", "asr", ASR),
    "asr_pretrained": (
        "LibriSpeech/train_asr",
        "asr",
        f"{ASR} --pretrained={PRETRAINED}/asr_tiny",
    ),
    "enhancement": ("VCTK/train_enhancement", "enhancement", ENHANCEMENT),
    "enhancement_latent": ("VCTK/train_enhancement", "enhancement_latent", ENHANCEMENT),
    "separation": ("Libri2Mix/train_separation", "separation", SEPARATION),
    "separation_latent": ("Libri2Mix/train_separation", "separation_latent", SEPARATION),
    "separation_convtasnet": ("Libri2Mix/train_separation", "separation_convtasnet", SEPARATION),
    "voice_conversion": ("VCTK/train_voice_conversion", "voice_conversion", CONVERSION),
}
# a name and a command line; each goes on in the folder that those before it have left
COMMANDS = """
version           --version
no_verb
unknown_verb      sing
encode            encode speech --out latents
encode_again      encode speech --out latents
encode_missing    encode gone.wav --out gone.safetensors
encode_damaged    encode damaged --out damaged_latents
encode_int8       encode speech/a.wav --precision int8 --out int8.safetensors
encode_long       encode long.wav --out long.safetensors
decode            decode latents --out decoded
decode_long       decode long.safetensors --out long_copy.wav
decode_audio      decode speech/a.wav --out no.wav
resynth           resynth speech --out copies
resynth_flac      resynth speech/b.flac --out copy.flac
info              info speech latents {pretrained}/wavcube_tiny
info_encoder      info {pretrained}/encoder
export            export run exported
export_again      export run exported
export_half       export run exported_half --half
export_missing    export gone exported_gone
export_onnx       export-onnx {pretrained}/wavcube_tiny onnx
manifest          manifest speech speech.jsonl
manifest_again    manifest speech speech.jsonl
manifest_missing  manifest gone gone.jsonl
shard             shard speech.jsonl shards --shard-size 2
evaluate          evaluate speech copies --json e.json --html e.html --metrics stoi,mel_distance
evaluate_unknown  evaluate speech copies --json no.json --metrics beauty
inspect           inspect speech/a.wav --out a.png
extract           extract speech.jsonl features
extract_again     extract speech.jsonl features
extract_ssl       extract speech.jsonl features_ssl --representation ssl --format npy
extract_mel       extract shards features_mel --representation mel --batch-seconds 20
enhance           enhance noisy.wav --out enhanced.wav
separate          separate mixture.wav --out separated
convert           convert speech/a.wav speech/deep/c.wav --out converted.wav
convert_missing   convert speech/a.wav gone.wav --out no.wav
transcribe        transcribe speech
transcribe_beam   transcribe speech/a.wav --beam 4
transcribe_wrong  transcribe speech --source {pretrained}/wavcube_tiny
official          convert-official golden/wavcube_stage2.ckpt official --config golden/config.yaml
official_missing  convert-official gone.ckpt no --config gone.yaml
help              --help
"""
# ------------------------------------------------------------------------------------------------

AUDIO, TEXT = {".wav", ".flac"}, {".csv", ".json", ".jsonl", ".md", ".py", ".txt", ".yaml"}
NOT_OF_THE_RUN = {"command", "seconds", "unixtime", "files", "mtime_ns"}  # in JSON and YAML
KEPT_OF_A_RUN = ("*release/*", "encoder/*", "samples/*", "*CKPT.yaml", "metrics.json", "?er_*.txt")


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes, shortened."""
    return hashlib.sha256(data).hexdigest()[:24]


def of_array(name: str, values: np.ndarray) -> Records:
    """Record an array: its bits, and norm, scaled sum and projections, which any change moves."""
    flat = np.ascontiguousarray(values).reshape(-1)
    wide, draws = flat.astype(np.float64), np.random.default_rng(flat.size)
    numbers = [np.linalg.norm(wide), wide.sum() / max(1, flat.size) ** 0.5]
    numbers += [wide @ draws.standard_normal(flat.size) for _ in range(4)]
    bits = digest(f"{values.dtype}{values.shape}".encode() + flat.tobytes())
    return {f"{name}/bits": bits, name: [float(number) for number in numbers]}


def of_data(name: str, data: object) -> Records:
    """Record what JSON and YAML hold, by dotted key."""
    if isinstance(data, Mapping):
        pairs = [(key, value) for key, value in data.items() if key not in NOT_OF_THE_RUN]
    elif isinstance(data, list) and not all(isinstance(value, int | float) for value in data):
        pairs = list(enumerate(data))
    elif isinstance(data, list) and len(data) > 32:
        return of_array(name, np.array(data))
    else:
        return {name: data}
    return {key: found for k, v in pairs for key, found in of_data(f"{name}.{k}", v).items()}


def of_text(text: str, folder: Path) -> str:
    """Return text without the paths of this machine and without progress bars."""
    text = text.replace(str(folder), "<folder>").replace(str(REPOSITORY), "<repository>")
    lines = [line.rstrip() for line in re.split("[\r\n]", text)]
    return "\n".join(line for line in lines if line and not re.search(r"\[\d\d:\d\d[,<]", line))


def of_file(name: str, path: Path, folder: Path) -> Records:
    """Record a file by its kind."""
    kind = path.suffix
    if kind in AUDIO:
        samples, rate = soundfile.read(path, dtype="float32")
        return {f"{name}/rate": rate, **of_array(name, samples)}
    if kind == ".npy":
        return of_array(name, np.load(path))
    if kind == ".safetensors":
        parts = [of_array(f"{name}/{key}", value) for key, value in load_file(path).items()]
        merged = {key: value for part in parts for key, value in part.items()}
        # whatever the tensors are called
        bits = sorted(value for key, value in merged.items() if key.endswith("/bits"))
        return {f"{name}/bits": digest("".join(bits).encode()), **merged}
    if kind == ".model":  # the file names the temporary folder that it was made in
        tokens = SentencePieceProcessor(model_file=str(path))
        return {name: "\n".join(map(tokens.id_to_piece, range(len(tokens))))}
    if kind not in TEXT:
        return {name: "is there" if kind == ".onnx" else digest(path.read_bytes())}
    text = of_text(path.read_text(encoding="utf-8"), folder)
    if kind == ".json":
        return of_data(name, json.loads(text))
    return of_data(name, yaml.safe_load(text)) if path.name == "CKPT.yaml" else {name: text}


def of_curves(name: str, folder: Path) -> Records:
    """Record the curves of a folder of TensorBoard's events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {f"{name}/{tag}": [point.value for point in events.Scalars(tag)] for tag in tags}


def run(arguments: Sequence[object], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with one thread and neither network nor GPU."""
    alone = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    paths = {"PYTHONPATH": str(REPOSITORY), "XDG_CACHE_HOME": str(folder / ".cache")}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **alone, **paths, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
    )


def record_recipe(part: str, folder: Path) -> Records:
    """Train a recipe for 20 updates; return its corpus, curves, scores, samples and releases."""
    script, name, options = RECIPES[part]
    shutil.rmtree(folder / part, ignore_errors=True)
    out, corpora = folder / part / "run", folder / part / "corpora"
    out.parent.mkdir(parents=True)
    files = REPOSITORY / f"recipes/{script}.py", REPOSITORY / f"hparams/{name}.yaml"
    given = f"--output_folder={out}", f"{CORPORA}={corpora}"
    done = run([*files, *given, *shlex.split(EVERY), *shlex.split(options)], out.parent)
    if done.returncode:
        raise RuntimeError(f"{script}.py ended with {done.returncode}:\n{done.stderr[-3000:]}")
    spoken = sorted(digest(soundfile.read(p, dtype="int16")[0].tobytes()) for p in audio(corpora))
    found = {"corpus/files": len(spoken), "corpus": digest("".join(spoken).encode())}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        key = path.relative_to(out)
        if path.name.startswith("events."):
            found |= of_curves(key.parent.as_posix(), path.parent)
        elif any(key.match(pattern) for pattern in KEPT_OF_A_RUN):
            found |= of_file(re.sub(r"CKPT\+[^/]*", "CKPT", key.as_posix()), path, out.parent)
    return found


def audio(folder: Path) -> list[Path]:
    """Return a folder's audio files, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix in AUDIO)


def find_clips(folder: Path) -> Path:
    """Return the folder of fixed sounds, made of a recipe's corpus where it is not there yet."""
    clips = folder.parent / "clips"
    if clips.is_dir():
        return clips
    if not (folder / "asr" / "corpora").is_dir():
        record_recipe("asr", folder)
    voices: dict[str, Path] = {}  # the longest file of each voice
    for path in audio(folder / "asr" / "corpora"):
        voice = re.split("[-_]", path.name)[0]
        voices[voice] = max(voices.get(voice, path), path, key=lambda p: p.stat().st_size)
    first, second, third = (soundfile.read(voices[name])[0] for name in sorted(voices)[:3])
    size, noise = min(len(first), len(third)), np.random.default_rng(0).standard_normal(len(first))
    sounds = {
        "speech/a.wav": first,
        "speech/b.flac": second,
        "speech/deep/c.wav": third,
        "noisy.wav": 0.8 * first + 0.02 * noise,
        "mixture.wav": 0.5 * first[:size] + 0.5 * third[:size],
        "long.wav": np.resize(np.concatenate([first, second, third]), 150 * RATE),
        "damaged/a.wav": first[:RATE],
    }
    making = clips.with_name("clips.part")
    shutil.rmtree(making, ignore_errors=True)
    for name, samples in sounds.items():
        (making / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(making / name, samples, RATE, subtype="PCM_16")
    (making / "speech" / "notes.txt").write_text("not a sound\n")
    (making / "damaged" / "b.wav").write_bytes(b"RIFF")
    research = Path(os.environ.get("WAVCUBE_SHARED", REPOSITORY.parent / "shared")) / GOLDEN
    for path in research.glob("**/*.[cjsy]*"):  # none: convert-official is recorded as it refuses
        target = making / "golden" / path.relative_to(research)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return making.rename(clips)


def record_packaged(folder: Path) -> Records:
    """Return what the packaged models make of seeded noise and of synthetic speech."""
    import torch

    from wavcube import WavCube, inference

    torch.set_num_threads(1)
    clips = find_clips(folder)
    tensor = lambda name: torch.from_numpy(soundfile.read(clips / name, dtype="float32")[0])  # noqa: E731
    speech, other = tensor("speech/a.wav"), tensor("speech/deep/c.wav")
    noise = 0.1 * torch.randn(20001, generator=torch.Generator().manual_seed(0))
    batch = torch.nn.utils.rnn.pad_sequence([speech, noise], batch_first=True)
    lens = torch.tensor([1.0, len(noise) / len(speech)])
    load = lambda name: getattr(inference, name).from_hparams(run_opts={"device": "cpu"})  # noqa: E731
    model, made = WavCube.from_hparams(run_opts={"device": "cpu"}), {}
    for name, wavs, wav_lens in (
        ("speech", speech[None], None),
        ("noise", noise[None], None),
        ("batch", batch, lens),
    ):
        latents, latent_lens = model.encode_batch(wavs, wav_lens)
        copies = model.decode_batch(latents, latent_lens, length=wavs.shape[-1])
        made |= {f"{name}/latents": latents, f"{name}/lens": latent_lens, f"{name}/copy": copies}
        made[f"{name}/enhanced"] = load("WavCubeEnhancer").enhance_batch(wavs, wav_lens)
        made[f"{name}/separated"] = load("WavCubeSeparator").separate_batch(wavs, wav_lens)
    made["converted"] = load("WavCubeVoiceConverter").convert_batch(speech[None], other[None])
    made["converted_back"] = load("WavCubeVoiceConverter").convert_batch(other[None], speech[None])
    parts = [of_array(name, value.numpy()) for name, value in made.items()]
    said = load("WavCubeASR").transcribe_batch(batch, lens)
    return {"transcripts": "\n".join(said), **{k: v for part in parts for k, v in part.items()}}


def record_cli(folder: Path) -> Records:
    """Return what every verb says, how it ends, and the files that it writes."""
    work = folder / "cli"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(find_clips(folder), work)
    shutil.copytree(PRETRAINED / "wavcube_tiny", work / "run" / "release")
    found: Records = {}
    seen = set(_written(work))
    calls = [line.split() for line in COMMANDS.format(pretrained=PRETRAINED).strip().splitlines()]
    verbs = dict.fromkeys(call[1] for call in calls if len(call) > 1)
    for name, *words in [*calls, *([f"help_{verb}", verb, "--help"] for verb in verbs)]:
        done = run(["-m", "wavcube", *words], work)
        found[f"{name}/exit"] = done.returncode
        for stream, said in (("out", done.stdout), ("err", done.stderr)):
            found[f"{name}/{stream}"] = of_text(said, work)
        for path, stamp in set(_written(work)) - seen:
            found |= of_file(f"{name}/{path.relative_to(work).as_posix()}", path, work)
            seen.add((path, stamp))
    return found


def _written(folder: Path) -> Iterator[tuple[Path, int]]:
    for path in folder.rglob("*"):
        if path.is_file() and not any(p.startswith(".") for p in path.relative_to(folder).parts):
            yield path, path.stat().st_mtime_ns


def write(out: Path, parts: Sequence[str]) -> int:
    """Write records of parts; those of others that the file holds stay."""
    makers: dict[str, Callable[[Path], Records]] = {"packaged": record_packaged, "cli": record_cli}
    folder, failed = out.resolve().with_suffix(""), 0
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts or [*RECIPES, *makers]:
        started = time.monotonic()
        try:
            found = makers[part](folder) if part in makers else record_recipe(part, folder)
        except Exception as error:  # the other parts are worth having
            print(f"{part}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed, found = 1, {}
        records = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
        records = {k: v for k, v in records.items() if not k.startswith(f"{part}/")}
        records |= {f"{part}/{key}": value for key, value in found.items()}
        records |= {f"environment/{name}": version(name) for name in ("torch", "transformers")}
        text = json.dumps(records, indent=0, sort_keys=True, ensure_ascii=False)
        out.write_text(text, encoding="utf-8")
        print(f"{part}: {len(found)} records, {time.monotonic() - started:.0f} s", flush=True)
    return failed


def difference(old: object, new: object) -> float | None:
    """Return how far numbers are apart beside the largest of them; None for anything else."""
    try:
        first, second = (np.atleast_1d(np.array(value)) for value in (old, new))
        if first.shape != second.shape or {first.dtype.kind, second.dtype.kind} - set("if"):
            return None
    except ValueError:
        return None
    most = max(np.nanmax(np.abs(part), initial=0.0) for part in (first, second))
    both = np.isnan(first) & np.isnan(second)
    apart = np.nan_to_num(np.abs(first - second)[~both], nan=np.inf)
    return float(np.max(apart, initial=0.0) / (most or 1.0))


def compare(old: Records, new: Records) -> int:
    """Print what differs, and return the exit code.

    Bits that differ are told and no more: the numbers beside them say whether it matters.
    """
    counts = {"equal": 0, "bits": 0, "numbers": 0, "texts": 0, "missing": 0}
    for key in sorted({*old, *new}):
        if key not in old or key not in new:
            kind, told = "missing", f"only in the {'old' if key in old else 'new'} records"
        elif old[key] == new[key]:
            kind, told = "equal", ""
        elif (apart := difference(old[key], new[key])) is not None:
            kind = "numbers" if apart > TOLERANCE else "bits"
            told = f"{old[key]} -> {new[key]}, relative difference {apart:.1e}"
        elif key.endswith("/bits"):
            kind, told = "bits", "other bits"
        else:
            kind, texts = "texts", [str(part[key]).splitlines() for part in (old, new)]
            told = "\n    ".join(
                ["", *difflib.unified_diff(*texts, "old", "new", lineterm="", n=0)]
            )
        counts[kind] += 1
        if told:
            print(f"{key}: {told}")
    print(", ".join(f"{kind} {count}" for kind, count in counts.items()))
    return int(bool(counts["numbers"] or counts["texts"] or counts["missing"]))


def main() -> int:
    """Read the arguments, and write or compare."""
    parser = argparse.ArgumentParser(prog="benchmarks.records", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    writer, comparer = verbs.add_parser("write"), verbs.add_parser("compare")
    writer.add_argument("out", type=Path, metavar="RECORDS.json")
    writer.add_argument("--parts", nargs="+", choices=[*RECIPES, "packaged", "cli"])
    comparer.add_argument("files", type=Path, nargs=2, metavar="RECORDS.json")
    comparer.add_argument("--parts", nargs="+", help="compare these alone")
    options = parser.parse_args()
    if options.verb == "write":
        return write(options.out, options.parts)
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in options.files)
    wanted = lambda key: not options.parts or key.split("/")[0] in options.parts  # noqa: E731
    return compare(*({k: v for k, v in part.items() if wanted(k)} for part in (old, new)))


if __name__ == "__main__":
    raise SystemExit(main())
