"""Conversion: what a recording says, in the voice of another."""

from wavcube.tasks.verbs import Audio, Recording, Verb

VERB = Verb(
    "convert",
    "what a recording says, in the voice of another",
    Audio(),
    inputs=(
        Recording("source", "audio file of what is to be said"),
        Recording(
            "reference",
            "audio files of the voice that is wanted; none for a converter to one voice",
            several=True,
        ),
    ),
    released="WavCubeVoiceConverter",
    packaged="voice_conversion_tiny",
)
