"""Small files of noise for the tests of mixtures."""

import numpy as np
import soundfile

RATE = 16000


def write(path, wav, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(wav), rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return str(path)


def noise_of(size, seed):
    return 0.1 * np.random.default_rng(seed).standard_normal(size).astype(np.float32)
