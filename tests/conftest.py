"""Fixtures for every test: data sets, a browser, and protection against downloads."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from jaxtyping import install_import_hook
from playwright.sync_api import Browser, sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]

# All test processes share compiled kernels. The user's own cache is elsewhere, since the kernels
# that tests compile check their arrays.
os.environ["NUMBA_CACHE_DIR"] = str(REPOSITORY / ".pytest_cache" / "numba")

# Check array shapes in the signatures of these modules at every call. This works for modules
# imported after this line.
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
from ablations.data.datasets import DataError, load_dataset, resolve_dataset

# The time of an example depends on the machine.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test that lacks something; under CI, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that open a browser, so that `-m "not browser"` leaves them out."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(autouse=True)
def default_signals() -> None:
    """Restore signals that a shell, `nohup`, Ray or another test has changed, also for children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Send every download, also of child processes, to a closed port."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, "http://127.0.0.1:9")
        # A test's own server is still reachable.
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The folder with MNIST's four files."""
    with contextlib.chdir(REPOSITORY):
        try:
            _, folder = resolve_dataset("mnist", fetch=False)
        except DataError as error:
            skip_or_fail(str(error))
        assert folder
        return folder.absolute()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Compute on one thread, as worker processes do; the test processes use the cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Random numbers in a test do not depend on earlier tests."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The small data set that needs no files: 1,437 training and 360 test images."""
    return load_dataset("digits", None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        skip_or_fail(f"no browser: none of {', '.join(names)} is installed")
    with sync_playwright() as playwright:
        # Chromium refuses its own sandbox to root, the user of a container's tests.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
