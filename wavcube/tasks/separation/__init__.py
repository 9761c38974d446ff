"""Separation: mixtures of speakers to a waveform for each of them."""

from wavcube.tasks.verbs import Audio, Verb

VERB = Verb(
    "separate",
    "mixtures of speakers to one wav file for each: name_1.wav, name_2.wav",
    Audio(sources=2),
    released="WavCubeSeparator",
    packaged="separation_tiny",
)
