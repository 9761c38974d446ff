"""Train a voice converter on WavCube's latent, evaluate it, and write a folder that loads.

    python recipes/VCTK/train_voice_conversion.py hparams/voice_conversion.yaml [--data_folder ...]
    python recipes/VCTK/train_voice_conversion.py hparams/voice_conversion_any_to_one.yaml [...]
    python recipes/VCTK/train_voice_conversion.py hparams/voice_conversion.yaml --pretrained RELEASE

The data are VCTK 0.80 or 0.92, a CSV with the columns "wav" and "spk_id" (and "wrd", the words), or
a folder with a subfolder of wav and flac files for each speaker; without a data folder the package
speaks a corpus in VCTK's layout itself. No parallel sentences are needed: the converter learns to
restore utterances from copies in other voices. The same command again resumes a run that was
interrupted, and evaluates one that was finished.
"""

from wavcube.tasks.run import main

if __name__ == "__main__":
    main(__file__, __doc__, "conversion")
