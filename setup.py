"""Packaging of WavCube: one compact latent of speech as a SpeechBrain lobe."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# webrtcvad (through resemblyzer) and torchmetrics (through asteroid) import pkg_resources, which setuptools 81 dropped
EVALUATION = [
    "setuptools<81",
    "asteroid>=0.7",
    "resemblyzer",
    "pesq",
    "pystoi",
    "jiwer",
    "librosa",
    "pocketsphinx",
]
CLUSTER = ["ray[data]>=2.51"]
MOS = ["onnxruntime"]
ONNX = ["onnx", "onnxruntime"]
# kenlm under its own import name, with wheels where kenlm's sources no longer compile (3.13)
LANGUAGE_MODEL = ["ufal-kenlm", "pygtrie"]
# what of them needs no C compiler: pesq does, and with it asteroid's requirements, and webrtcvad of resemblyzer's
WITHOUT_COMPILER = [
    "pystoi",
    "jiwer",
    "librosa",
    "pocketsphinx",
    "matplotlib",
    "scikit-learn",
    "tensorboard",
]
RECIPES = [*EVALUATION, *WITHOUT_COMPILER]

setup(
    name="wavcube",
    version="0.1.0",
    description="One compact continuous latent of speech for understanding, reconstruction and generation",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)],
    python_requires=">=3.11",
    packages=find_packages(include=["wavcube", "wavcube.*"]),
    package_data={"wavcube": ["py.typed", "pretrained/*/*"]},
    install_requires=[
        # one pair: torchaudio 2.11.1 needs symbols that torch 2.11 does not have, 2.11.0 refuses another torch
        "torch==2.11.*",
        "torchaudio==2.11.0",
        "speechbrain>=1.1.2",
        "hyperpyyaml",
        "transformers>=5",
        "sentencepiece",
        "tqdm",
        "soundfile",
        "soxr",
        "safetensors",
        "espeakng-loader",
        "scipy",
        "filelock>=4.3",
    ],
    extras_require={
        "eval": EVALUATION,
        "cluster": CLUSTER,
        "mos": MOS,
        "onnx": ONNX,
        "lm": LANGUAGE_MODEL,
        "light": WITHOUT_COMPILER,
        "recipes": RECIPES,
        "test": [
            *RECIPES,
            *CLUSTER,
            *MOS,
            *LANGUAGE_MODEL,
            *ONNX,
            "pytest",
            "pytest-socket",
            "pytest-timeout",
            "pytest-xdist",
            "mypy",
            "ruff",
        ],
    },
    entry_points={"console_scripts": ["wavcube=wavcube.cli.main:main"]},
)
