"""What the synthetic corpus says: sentences of a small grammar, digit strings and single words."""

from __future__ import annotations

import random
import re

__all__ = ["DIGITS", "VOCABULARY", "draw_sentence", "draw_text", "transcript"]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

# Each symbol is a list of alternatives; words in braces are symbols themselves. The words are
# chosen for varied onsets, vowels and clusters rather than for sense.
_GRAMMAR: dict[str, tuple[str, ...]] = {
    "sentence": (
        "{person} {past} {the thing} {place}.",
        "{the thing} {place} {state}.",
        "{time}, {person} {past} {the thing}.",
        "{person} and {person} {adverb} {past} {the thing}.",
        "Did {person} ever {verb} {the thing} {place}?",
        "There {amount} {adjective} {plural} {place}, but {person} {past} {the thing}.",
        "{time}, {the thing} {state}, so {person} {past} {the thing} {place}.",
        "If {the thing} {state}, {person} will {verb} {the thing} {time}.",
        "{person} {past} {number} {plural}, while {person} {past} {the thing} {adverb}.",
        "{time}, {person} had to {verb} {the thing}, because {the thing} {state} {place}.",
        "Please {verb} {the thing} before {person} {past} it.",
        "Nobody {place} could {verb} {the thing}, though {person} {past} {number} of them.",
    ),
    "the thing": (
        "the {adjective} {noun}",
        "a {consonant adjective} {noun}",
        "my {noun}",
        "her {adjective} {noun}",
        "the {noun} of the {adjective} {noun}",
        "{number} {plural}",
        "those {adjective} {plural}",
        "every {noun}",
    ),
    "person": (
        *("Martha", "George", "the judge", "our neighbour", "Yusuf", "the young pilot", "Chloe"),
        *("the old fisherman", "Victor", "my cousin", "Zoe", "the baker's wife", "Shirley"),
        *("Hugh", "the night watchman", "Ingrid", "Paul", "the choir", "they", "we", "Theo"),
        *("the third guest", "Joyce", "a stranger", "Quentin", "the whole village", "Beth"),
    ),
    "past": (
        *("measured", "borrowed", "watched", "carried", "painted", "forgot", "chose", "sold"),
        *("brought", "described", "shook", "repaired", "polished", "weighed", "followed", "heard"),
        *("threw away", "discovered", "sketched", "admired", "cleaned", "unwrapped", "judged"),
        *("found", "pushed", "visited", "gathered", "lost", "bought", "examined", "used"),
    ),
    "verb": (
        *("measure", "borrow", "watch", "carry", "paint", "forget", "choose", "sell", "bring"),
        *("describe", "shake", "repair", "polish", "weigh", "follow", "hear", "throw", "discover"),
        *("sketch", "admire", "clean", "unwrap", "judge", "find", "push", "visit", "gather"),
    ),
    "adjective": (
        *("{consonant adjective}", "{consonant adjective}", "{consonant adjective}"),
        *("orange", "early", "empty", "ancient", "ugly", "icy", "awkward", "urgent", "honest"),
    ),
    "consonant adjective": (
        *("quiet", "blue", "broken", "thirsty", "gentle", "yellow", "smooth", "wooden", "narrow"),
        *("bright", "heavy", "cheerful", "purple", "frozen", "vague", "sour", "grey", "royal"),
        *("shallow", "thick", "loyal", "curious", "rough", "golden", "joyful", "warm", "distant"),
        *("square", "fresh", "strange", "plain", "moist", "huge", "casual", "tiny", "southern"),
    ),
    "noun": (
        *("river", "basket", "theatre", "engine", "kitchen", "mirror", "shadow", "bridge", "coin"),
        *("garage", "voyage", "feather", "church", "violin", "window", "journey", "thimble"),
        *("island", "orchard", "letter", "youth", "beach", "rhythm", "pleasure", "sword", "oyster"),
        *("tooth", "square", "hedgehog", "cloud", "treasure", "bird", "zebra", "knife", "squirrel"),
        *("vase", "machine", "yacht", "blanket", "chimney", "path", "wheel", "jug", "lamp", "fur"),
        *("school", "harbour", "poem", "ghost", "thunder", "planet", "spoon", "question", "field"),
    ),
    "plural": (
        *("horses", "pictures", "villages", "shirts", "mountains", "cakes", "books", "sailors"),
        *("bells", "roads", "cherries", "clothes", "drums", "thieves", "languages", "ships"),
        *("eggs", "oaks", "wolves", "maps", "jewels", "houses", "sparrows", "tulips", "wings"),
        *("paths", "roofs", "gloves", "voices", "months", "axes", "strings", "fields", "boys"),
    ),
    "state": (
        *(
            "was too loud",
            "seemed familiar",
            "is made of glass",
            "has vanished",
            "smelled of smoke",
        ),
        *("turned to the south", "will never be enough", "began to shine", "fell apart"),
        *("looked rather strange", "cost a fortune", "arrived by train", "sounded wonderful"),
        *("stood in the rain", "was hidden", "moved", "belongs to a museum", "caught fire"),
    ),
    "amount": ("were", "are", "were only a few", "used to be", "were not enough", "are too many"),
    "place": (
        *("under the bridge", "near the coast", "behind the church", "in the valley", "upstairs"),
        *("across the street", "beyond the hills", "at the edge of the forest", "by the fire"),
        *("between two houses", "in the shade", "at the market", "on the balcony", "outdoors"),
        *("along the canal", "in Zurich", "on a Thursday train", "below the surface", "abroad"),
    ),
    "time": (
        *("yesterday", "last Thursday", "in the morning", "before dawn", "every June", "at noon"),
        *("after the storm", "during the voyage", "one evening", "long ago", "on Wednesday"),
        *("in winter", "as usual", "at last", "an hour later", "a year ago", "on the fifth day"),
    ),
    "adverb": (
        *("slowly", "gladly", "hardly", "usually", "with great care", "secretly", "at once"),
        *("foolishly", "quietly", "never", "always", "thoroughly", "rarely", "almost", "justly"),
    ),
    "number": (
        *("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
        *("twelve", "thirteen", "fifteen", "twenty", "thirty four", "fifty six", "a hundred"),
        *("sixty eight", "nineteen", "forty", "ninety seven", "a thousand", "half a dozen"),
    ),
}
_SINGLE_WORDS = ("noun", "plural", "consonant adjective")
_SYMBOL = re.compile(r"\{([^}]+)\}")


def draw_text(rng: random.Random) -> str:
    """Draw one utterance: a sentence (80 %), a digit string (10 %) or a word or digit alone (10 %).

    Examples
    --------
    >>> text = draw_text(random.Random(3))
    >>> VOCABULARY.issuperset(transcript(text).split())
    True
    """
    kind = rng.random()
    if kind < 0.8:
        return draw_sentence(rng)
    if kind < 0.9:
        return ", ".join(rng.choices(DIGITS, k=rng.randint(3, 8))) + "."
    if kind < 0.96:
        return rng.choice(DIGITS) + "."
    return rng.choice(_GRAMMAR[rng.choice(_SINGLE_WORDS)]) + "."


def draw_sentence(rng: random.Random) -> str:
    """Draw a sentence, with its capital and its full stop.

    Examples
    --------
    >>> draw_sentence(random.Random(1))
    'In the morning, Victor carried every ghost.'
    """
    text = _expand("sentence", rng)
    return text[0].upper() + text[1:]


def transcript(text: str) -> str:
    """Write a text the way LibriSpeech does: upper case, letters, apostrophes and single spaces.

    Examples
    --------
    >>> transcript("At noon, the baker's wife left.")
    "AT NOON THE BAKER'S WIFE LEFT"
    """
    return " ".join(re.sub(r"[^A-Z']", " ", text.upper()).split())


def _vocabulary() -> frozenset[str]:
    lines = [_SYMBOL.sub(" ", line) for alternatives in _GRAMMAR.values() for line in alternatives]
    return frozenset(transcript(" ".join([*lines, *DIGITS])).split())


def _expand(symbol: str, rng: random.Random) -> str:
    return _SYMBOL.sub(lambda match: _expand(match.group(1), rng), rng.choice(_GRAMMAR[symbol]))


VOCABULARY = _vocabulary()
