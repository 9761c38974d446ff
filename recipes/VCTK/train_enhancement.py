"""Train an enhancer on a representation of noisy speech, evaluate it, write a folder that loads.

    python recipes/VCTK/train_enhancement.py hparams/enhancement.yaml [--data_folder FOLDER_OR_CSV]
    python recipes/VCTK/train_enhancement.py hparams/enhancement_latent.yaml [...]
    python recipes/VCTK/train_enhancement.py hparams/enhancement_superb.yaml --data_folder VOICEBANK
    python recipes/VCTK/train_enhancement.py hparams/enhancement.yaml --pretrained RELEASE [...]

The data are VoiceBank-DEMAND, any folder with `clean` and `noisy` in it, or a CSV with the columns
"noisy" and "clean"; or clean speech (VCTK, LibriSpeech, any folder, a CSV with the column "wav")
that is mixed with noise of --noise_folder in rooms of --room_folder while it is read. What is not
given the package makes itself: speech in VCTK's layout, noises, rooms. The same command again
resumes a run that was interrupted, and evaluates one that was finished.
"""

from wavcube.tasks.run import main

if __name__ == "__main__":
    main(__file__, __doc__, "enhancement")
