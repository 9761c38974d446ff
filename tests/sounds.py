"""Small folders of noise, good and bad, for the tests of scans, manifests and preparation."""

import numpy as np
import soundfile

RATE = 16000


def audio(path, seconds=0.1, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(str(path)))
    soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * RATE)), RATE, **settings)
    return path


def three_speakers(root):
    """Twelve good files of three speakers."""
    for speaker in ("ann", "bob", "cleo"):
        for index in range(4):
            suffix = ("wav", "flac")[index % 2]
            audio(root / speaker / f"{index}.{suffix}", 0.1 + 0.01 * index)
    return root


def spoil(folder, count, total):
    """A folder of `total` files, `count` of them bad in turn."""
    for index in range(total):
        path = audio(folder / f"{index:03d}.wav")
        if index < count:
            kind = index % 3
            if kind == 0:
                path.write_bytes(path.read_bytes()[:1000])
            elif kind == 1:
                path.write_bytes(b"")
            else:
                path.write_text("no audio at all, but long enough to be looked at")
