"""Every test of data sets runs in an empty folder, and no mirror answers unless the test has one."""

from pathlib import Path

import pytest

from tests.tiny_data import CLOSED_MIRROR, make_tiny, use_mirrors


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and no folder in the environment."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    use_mirrors(monkeypatch, CLOSED_MIRROR)
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `mnist` and `kmnist` a data set of ten images; the content of its files."""
    return make_tiny(monkeypatch)
