"""What every test may use: data sets, and the certainty that no test downloads."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook
from playwright.sync_api import Browser, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]

# What one test process has compiled, the others need not; away from what the user's own runs
# keep, since the code that tests run has its arrays checked.
os.environ["NUMBA_CACHE_DIR"] = str(REPOSITORY / ".pytest_cache" / "numba")

# In the modules that handle arrays, the shapes in signatures are checked at every call while
# tests run. It works for what is imported after this line.
ARRAY_MODULES = [
    "ablations.data",
    "ablations.training",
    "ablations.records.run",
    "speed.gpu.wide",
]
install_import_hook(ARRAY_MODULES, "beartype.beartype")

import torch
from hypothesis import settings

from ablations.data.dataset import Dataset
from ablations.data.datasets import folders_under, load_dataset
from ablations.data.sources import MNIST, inspect_folder

# How long one example takes says more about the machine than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture(scope="session", autouse=True)
def heed_interrupts() -> None:
    """A shell has what it runs in the background ignore Ctrl-C, and every child would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Send every download, also of child processes, to a port at which nobody listens."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, CLOSED_PORT)
        # Servers that a test starts itself are still reached.
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder with MNIST's four files; without them the test is skipped, or fails under CI."""
    roots = [REPOSITORY / "../shared/mnist", REPOSITORY / "data"]
    if os.environ.get("MNIST_DATA_DIR"):
        roots.insert(0, Path(os.environ["MNIST_DATA_DIR"]).absolute())
    for root in roots:
        for folder in folders_under(MNIST, root):
            if all(file.status == "verified" for file in inspect_folder(MNIST, folder)):
                return folder
    reason = f"MNIST is in none of {', '.join(map(str, roots))}; name its folder in $MNIST_DATA_DIR"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute as worker processes do; the test processes themselves use the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The small data set that needs no files: 1,437 training and 360 test images."""
    return load_dataset("digits", None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; without one the test is skipped, or fails under CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        reason = f"no browser: none of {', '.join(names)} is installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # As root, which is who a container's tests run as, Chromium refuses its own sandbox.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()
