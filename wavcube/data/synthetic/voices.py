"""The voices of the synthetic corpus: espeak-ng accents, variants, pitches, ranges and rates."""

from __future__ import annotations

import random

from wavcube.data.synthetic.espeak import Voice

__all__ = ["SPLITS", "make_voices"]

SPLITS = ("train", "dev", "test")

_ACCENTS = (
    "gmw/en-US",
    "gmw/en",
    "gmw/en-GB-scotland",
    "gmw/en-GB-x-rp",
    "gmw/en-US-nyc",
    "gmw/en-GB-x-gbclan",
    "gmw/en-029",
    "gmw/en-GB-x-gbcwmd",
)

# A variant is a timbre, so no variant serves two splits. Left out are robots, whispers, near
# copies, variants that clip, and the two ("Reed", "caleb") whose samples differ from run to run.
_VARIANTS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {
        "F": ("f1", "Alicia", "belinda", "f3", "grandma", "Andrea", "f5", "anika", "shelby"),
        "M": (
            *("m1", "Andy", "Denis", "m2", "Henrique", "pablo", "m5", "Lee", "Mario", "m6"),
            *("Hugo", "Michael", "m7", "Nguyen", "boris", "m8", "croak", "max", "david"),
            *("grandpa", "ian", "iven3", "john", "klatt3", "marcelo", "miguel", "quincy"),
            *("pedro", "rob", "sandro", "edward", "Alex"),
        ),
    },
    "dev": {"F": ("f4", "Annie", "linda"), "M": ("m4", "michel", "victor", "Mike")},
    "test": {"F": ("f2", "aunty", "steph"), "M": ("m3", "Diogo", "norbert", "travis")},
}


def make_voices(split: str, count: int, seed: int) -> list[Voice]:
    """List `count` different voices, female and male in turn, shared with no other split.

    Parameters
    ----------
    split : str
        "train", "dev" or "test".
    count : int
        How many voices. A variant comes back with another accent when all have been used.
    seed : int
        Draws pitch, pitch range and rate.

    Raises
    ------
    ValueError
        When the split has fewer voices than that.

    Examples
    --------
    >>> [voice.sex for voice in make_voices("dev", 3, seed=1)]
    ['F', 'M', 'F']
    """
    variants = _VARIANTS[split]
    limit = 2 * len(_ACCENTS) * min(len(names) for names in variants.values())
    if not 1 <= count <= limit:
        raise ValueError(f"{split} has from 1 to {limit} voices, not {count}")
    rng = random.Random(f"voices {split} {seed}")
    return [_voice(variants, index, rng) for index in range(count)]


def _voice(variants: dict[str, tuple[str, ...]], index: int, rng: random.Random) -> Voice:
    sex = "FM"[index % 2]
    turn, place = divmod(index // 2, len(variants[sex]))
    return Voice(
        # one step further at every turn, so that no pair of accent and variant comes twice
        accent=_ACCENTS[(place + turn + 4 * (index % 2)) % len(_ACCENTS)],
        variant=variants[sex][place],
        sex=sex,
        pitch=rng.randint(32, 68),
        pitch_range=rng.randint(35, 80),
        rate=rng.randint(140, 200),
    )
