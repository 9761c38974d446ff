"""Recognition: speech to text by CTC."""

from wavcube.tasks.verbs import Option, Text, Verb

VERB = Verb(
    "transcribe",
    "speech to text: one line for each file, its name before it where there are several",
    Text(),
    released="WavCubeASR",
    packaged="asr_tiny",
    options=(
        Option("beam_size", "--beam", int, 1, "hypotheses followed (default: 1)"),
        Option("language_model", "--language-model", str, None, "of words, by KenLM; with a beam"),
        Option("lm_weight", "--lm-weight", float, 2.0, "of it (default: 2)"),
        Option("word_score", "--word-score", float, -1.0, "for each (default: -1)"),
    ),
)
