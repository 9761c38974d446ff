"""Fixtures that every test shares: no network, one thread, and the project's shared data."""

import os
import signal
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
# before torch is imported: a process forked beside OpenMP's threads would wait for them for ever
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _hears_ctrl_c():
    # a shell starts its background jobs deaf to it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _lists_no_packages():
    # SpeechBrain asks pip what is installed for the env.log of every run; test_recipes.py, whose
    # processes are their own, reads a true one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("speechbrain.utils.logger.get_environment_description", lambda: "a test\n")
        yield


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's top folder."""
    return REPOSITORY


@pytest.fixture(scope="session")
def readers(repository) -> str:
    """The code that may read a recipe's YAML."""
    rooms = [repository / "wavcube" / room for room in ("experiment", "tasks", "latent", "data")]
    folders = [*rooms, repository / "recipes"]
    return "".join(path.read_text() for folder in folders for path in folder.rglob("*.py"))


def find_shared() -> Path:
    """Folder of the shared data; without it a test is skipped, or fails where it is required."""
    folder = Path(os.environ.get("WAVCUBE_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        give_up = pytest.fail if os.environ.get("WAVCUBE_REQUIRE_SHARED") == "1" else pytest.skip
        give_up(f"no shared data at {folder} (set WAVCUBE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real speech and golden numbers, kept beside the repository; absent for most users."""
    return find_shared()
