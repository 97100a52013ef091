"""Files as students submit them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ablations.grader import supervisor
from ablations.grader.protocol import WorkerTask

STUDENT_NETWORKS = Path(__file__).with_name("student_networks.py").read_text()


@pytest.fixture(autouse=True)
def unlimited_inspection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes any time to start a process."""
    monkeypatch.setattr(supervisor, "INSPECTION_SECONDS", 3600.0)


@pytest.fixture
def student_task(tmp_path: Path) -> Callable[..., WorkerTask]:
    """Writes a file with `student_networks.py` and more source, and makes a task for it."""

    def make(name: str, source: str = "", forward: str = "") -> WorkerTask:
        """`forward` is the body of the method of a class with this name."""
        if forward:
            source = f"class {name}(Layers):\n    def forward(self, x):\n        {forward}\n"
        path = tmp_path / "my network.py"
        path.write_text(f"{STUDENT_NETWORKS}\n{source}")
        return WorkerTask(str(path), name, num_epochs=1, recipe="published", dataset_name="digits")

    return make
