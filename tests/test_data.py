"""Data sets are found in the promised order, verified to the byte, and fetched whole or not at all.

Most tests use a data set of ten images under MNIST's name; those that take `mnist_folder` use
the real files.
"""

import gzip
import hashlib
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import data_fetch
from ablations.data import (
    DATASET_NAMES,
    DataError,
    Dataset,
    inspect_dataset,
    load_dataset,
    pixel_statistics,
    resolve_dataset,
)
from ablations.data_files import (
    FASHION_MNIST,
    FILE_SHAPES,
    KMNIST,
    MNIST,
    SOURCES,
    DataSource,
    read_file,
)
from ablations.idx import read_idx

REPOSITORY = Path(__file__).resolve().parents[1]
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TEST_LABELS = "t10k-labels-idx1-ubyte"
WEB_PAGE = b"<!DOCTYPE html><title>Guest network: please log in</title>"


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, no folder in the environment, and no mirror that answers."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    for source in SOURCES.values():
        dataset_class = getattr(torchvision.datasets, source.torchvision_class)
        monkeypatch.setattr(dataset_class, "mirrors", [f"http://127.0.0.1:{closed_port()}/"])
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `mnist` a data set of six training and four test images; the content of its files."""
    random = np.random.default_rng(0)
    contents = {}
    for name, shape in FILE_SHAPES.items():
        tiny_shape = (6 if name.startswith("train") else 4, *shape[1:])
        monkeypatch.setitem(FILE_SHAPES, name, tiny_shape)
        contents[name] = idx_bytes(random.integers(0, 10, tiny_shape, np.uint8))
    digests = tuple(hashlib.sha256(content).hexdigest() for content in contents.values())
    monkeypatch.setitem(SOURCES, "mnist", replace(MNIST, sha256=digests))
    resources = [
        (f"{name}.gz", hashlib.md5(gzip.compress(content, mtime=0)).hexdigest())
        for name, content in contents.items()
    ]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    return contents


@pytest.fixture(scope="session")
def plain_folder(mnist_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MNIST's four files, uncompressed."""
    folder = tmp_path_factory.mktemp("plain")
    for name in FILE_SHAPES:
        path = mnist_folder / name
        packed = mnist_folder / f"{name}.gz"
        content = path.read_bytes() if path.exists() else gzip.decompress(packed.read_bytes())
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for property tests, which may not use a fixture that is made anew per test."""
    return tmp_path_factory.mktemp("scratch")


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def idx_bytes(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def write_files(folder: Path, contents: dict[str, bytes], *, suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        packed = gzip.compress(content, mtime=0) if suffix else content
        (folder / f"{name}{suffix}").write_bytes(packed)
    return folder


def refusal(call: Callable[[], object]) -> str:
    """The message of the DataError that a call raises: one line."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def refused_labels(path: Path, content: bytes, source: DataSource | None = None) -> str:
    """The message with which a file of test labels is refused: it names the file."""
    path.write_bytes(content)
    message = refusal(lambda: read_file(source or SOURCES["mnist"], path, TEST_LABELS))
    assert message.startswith(f"{path}: ")
    assert "; " in message, "the way out is missing"
    return message


def same_arrays(first: Dataset, second: Dataset) -> bool:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


# --- the data sets themselves


def test_mnist_is_the_original(mnist_folder: Path) -> None:
    said: list[str] = []
    name, folder = resolve_dataset("mnist", mnist_folder, fetch=False, say=said.append)
    dataset = load_dataset(name, folder)
    assert (dataset.mean, dataset.std) == (0.1307, 0.3081)
    assert (dataset.id.name, dataset.id.num_train, dataset.id.num_test) == ("mnist", 60_000, 10_000)
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert (dataset.title, dataset.class_names[3]) == ("MNIST", "3")
    assert said == []


def test_gzipped_and_plain_files_are_the_same_data_set(
    mnist_folder: Path, plain_folder: Path
) -> None:
    packed = load_dataset("mnist", mnist_folder)
    plain = load_dataset("mnist", plain_folder)
    assert packed.id == plain.id
    assert same_arrays(packed, plain)


def test_digest_covers_all_four_arrays(tiny: dict[str, bytes], tmp_path: Path) -> None:
    dataset = load_dataset("mnist", write_files(tmp_path, tiny))
    values = b"".join(content[16 if "idx3" in name else 8 :] for name, content in tiny.items())
    assert dataset.id.sha256 == hashlib.sha256(values).hexdigest()


def test_arrays_may_be_written_to(tiny: dict[str, bytes], tmp_path: Path) -> None:
    """torch.from_numpy warns of arrays that may not."""
    assert load_dataset("mnist", write_files(tmp_path, tiny)).train_images.flags.writeable


@pytest.mark.skipif(not FASHION_FOLDER.exists(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_the_original() -> None:
    name, folder = resolve_dataset("fashion-mnist", fetch=False)
    dataset = load_dataset(name, folder)
    assert (dataset.mean, dataset.std) == (0.2860, 0.3530)
    assert np.bincount(dataset.train_labels).tolist() == [6_000] * 10
    assert dataset.class_names[9] == "Ankle boot"


@pytest.mark.skipif(not FASHION_FOLDER.exists(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_not_taken_for_mnist() -> None:
    for name in ("mnist", "auto"):
        message = refusal(lambda: resolve_dataset(name, FASHION_FOLDER, fetch=False))  # noqa: B023
        assert "belongs to Fashion-MNIST, not to MNIST" in message
    assert "belongs to Fashion-MNIST" in refusal(lambda: load_dataset("mnist", FASHION_FOLDER))


@pytest.mark.parametrize("source", [FASHION_MNIST, KMNIST], ids=lambda source: source.name)
def test_mnist_is_not_taken_for_another(source: DataSource, mnist_folder: Path) -> None:
    message = refusal(lambda: load_dataset(source.name, mnist_folder))
    assert f"belongs to MNIST, not to {source.title}" in message


def test_mnist_of_the_wrong_part_is_refused(plain_folder: Path, tmp_path: Path) -> None:
    """The first 10,000 training labels have everything that test labels have, but the digest."""
    content = (plain_folder / "train-labels-idx1-ubyte").read_bytes()
    labels = idx_bytes(np.frombuffer(content, np.uint8, offset=8, count=10_000))
    assert "its SHA-256 differs" in refused_labels(tmp_path / TEST_LABELS, labels, MNIST)
    read_file(KMNIST, tmp_path / TEST_LABELS, TEST_LABELS)


def test_class_names_are_torchvisions() -> None:
    assert list(FASHION_MNIST.class_names) == torchvision.datasets.FashionMNIST.classes
    assert list(KMNIST.class_names) == torchvision.datasets.KMNIST.classes


def test_pixel_statistics() -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 28, 28), np.uint8)
    pixels = images / 255
    assert pixel_statistics(images) == (round(pixels.mean(), 4), round(pixels.std(), 4))


def test_digits() -> None:
    assert resolve_dataset("digits", fetch=False) == ("digits", None)
    dataset, again = load_dataset("digits", None), load_dataset("digits", None)
    assert dataset.train_images.shape == (1_437, 28, 28)
    assert dataset.test_images.shape == (360, 28, 28)
    assert dataset.train_images.dtype == dataset.test_labels.dtype == np.uint8
    assert min(np.bincount(dataset.train_labels, minlength=10)) > 130
    assert min(np.bincount(dataset.test_labels, minlength=10)) > 30
    assert dataset.train_images.max() == 255
    frame = dataset.train_images.copy()
    frame[:, 4:24, 4:24] = 0
    assert not frame.any()
    assert dataset.id == again.id
    assert same_arrays(dataset, again)


def test_digits_are_the_same_on_every_machine() -> None:
    """If a new Pillow or scikit-learn changes them, old records are of other data."""
    digest = "3c6bc6a52dc36cc05516ac9451b05be9f68d5688b7b6af0cc5c8f81697fcdcab"
    assert load_dataset("digits", None).id.sha256 == digest


def test_unknown_name_gets_a_suggestion() -> None:
    for call in (resolve_dataset, inspect_dataset, lambda name: load_dataset(name, None)):
        message = refusal(lambda call=call: call("fashon-mnist"))
        assert "did you mean 'fashion-mnist'?" in message
        assert all(name in message for name in DATASET_NAMES)


def test_loading_without_a_folder_is_refused() -> None:
    assert "resolve_dataset" in refusal(lambda: load_dataset("mnist", None))


def test_import_is_light() -> None:
    """The command line starts before the blink of an eye: heavy packages are imported late."""
    heavy = {"torch", "torchvision", "sklearn", "scipy", "PIL"}
    program = f"import sys, ablations.data; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# --- damaged files


@settings(deadline=None)
@given(position=st.integers(0, 10_007), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(
    plain_folder: Path, scratch: Path, position: int, flip: int
) -> None:
    content = bytearray((plain_folder / TEST_LABELS).read_bytes())
    content[position] ^= flip
    refused_labels(scratch / TEST_LABELS, bytes(content), MNIST)


@settings(deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_gzip_file_is_noticed(
    plain_folder: Path, scratch: Path, share: float, flip: int
) -> None:
    """Refused, unless it is one of the few bytes on which nothing depends, such as a date."""
    original = (plain_folder / TEST_LABELS).read_bytes()
    content = bytearray(gzip.compress(original, mtime=0))
    content[int(share * len(content))] ^= flip
    path = scratch / f"{TEST_LABELS}.gz"
    path.write_bytes(content)
    try:
        labels = read_file(MNIST, path, TEST_LABELS)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert labels.tobytes() == original[8:]


@settings(deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), gzipped=st.booleans())
def test_any_cut_off_file_is_noticed(
    plain_folder: Path, scratch: Path, share: float, gzipped: bool
) -> None:
    content = (plain_folder / TEST_LABELS).read_bytes()
    if gzipped:
        content = gzip.compress(content, mtime=0)
    path = scratch / (f"{TEST_LABELS}.gz" if gzipped else TEST_LABELS)
    refused_labels(path, content[: int(share * len(content))], MNIST)


@settings(deadline=None)
@given(content=st.binary(max_size=200), suffix=st.sampled_from(["", ".gz"]))
def test_no_content_causes_another_exception(scratch: Path, content: bytes, suffix: str) -> None:
    path = scratch / f"any{suffix}"
    path.write_bytes(content)
    refusal(lambda: read_idx(path, (60_000, 28, 28)))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "starts with nothing at all"),
        (b"\0\0\x08\x01\0\0", "ends after 6 bytes, in its header"),
        (b"\0\0\x0d\x01\0\0\0\x04abcd", "starts with 00000d01, not 00000801"),
        (idx_bytes(np.zeros((4, 28, 28), np.uint8)), "starts with 00000803, not 00000801"),
        (idx_bytes(np.zeros(5, np.uint8)), "its shape is (5,), not (4,)"),
        (idx_bytes(np.zeros(4, np.uint8))[:-1], "ends after 11 of its 12 bytes"),
        (idx_bytes(np.zeros(4, np.uint8)) + b"\0", "goes on after its 12 bytes"),
        (idx_bytes(np.array([1, 2, 3, 10], np.uint8)), "has the label 10"),
        (WEB_PAGE, "starts with a web page"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_what_is_wrong_is_said(
    tiny: dict[str, bytes], tmp_path: Path, content: bytes, problem: str, suffix: str
) -> None:
    stored = gzip.compress(content) if suffix else content
    message = refused_labels(tmp_path / f"labels{suffix}", stored, KMNIST)
    assert problem in message


@pytest.mark.parametrize(
    ("content", "problem"), [(WEB_PAGE, "a web page"), (b"\0\0\x08\x01", "00000801")]
)
def test_not_gzipped_at_all(tmp_path: Path, content: bytes, problem: str) -> None:
    message = refused_labels(tmp_path / "labels.gz", content)
    assert f"starts with {problem}, so it is not gzipped" in message


def test_gzip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """64 MB of zeros after a label file's header, in 64 kB."""
    content = gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 10_000) + bytes(64_000_000))
    tracemalloc.start()
    try:
        message = refused_labels(tmp_path / "labels.gz", content)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "goes on after its 10,008 bytes" in message
    assert peak_bytes < 2_000_000


def test_folder_in_place_of_a_file(tiny: dict[str, bytes], tmp_path: Path) -> None:
    write_files(tmp_path / "found", tiny)
    (tmp_path / "found" / TEST_LABELS).unlink()
    (tmp_path / "found" / TEST_LABELS).mkdir()
    message = refusal(lambda: load_dataset("mnist", tmp_path / "found"))
    assert "a folder or device, not a file" in message


def test_file_that_cannot_be_read(tiny: dict[str, bytes], tmp_path: Path) -> None:
    """A link to itself: unlike missing rights, it stops the superuser as well."""
    write_files(tmp_path / "found", tiny)
    path = tmp_path / "found" / TEST_LABELS
    path.unlink()
    path.symlink_to(path)
    message = refusal(lambda: load_dataset("mnist", tmp_path / "found"))
    assert message.startswith(f"{path}: cannot be read (")
    assert f"{tmp_path}: cannot be read (" in refusal(lambda: read_idx(tmp_path, (4,)))


def test_missing_file_is_named(tiny: dict[str, bytes], tmp_path: Path) -> None:
    write_files(tmp_path / "found", tiny)
    (tmp_path / "found" / TEST_LABELS).unlink()
    assert TEST_LABELS in refusal(lambda: load_dataset("mnist", tmp_path / "found"))


# --- where files are looked for


def test_order_of_search(
    tiny: dict[str, bytes], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", "from-environment")
    given_dir = checkout / "given"
    roots = [given_dir, Path("from-environment"), Path("data"), Path("../shared/mnist")]
    in_order = [
        folder for root in roots for folder in (root / "MNIST" / "raw", root / "mnist", root)
    ]
    for number, folder in enumerate(in_order):
        write_files(folder, tiny, suffix=".gz" if number % 2 else "")
    for folder in in_order:
        assert resolve_dataset("mnist", given_dir, fetch=False) == ("mnist", folder)
        for file in folder.glob("*ubyte*"):
            file.unlink()
    refusal(lambda: resolve_dataset("mnist", given_dir, fetch=False))


def test_shared_folder_is_for_mnist_alone(tiny: dict[str, bytes], checkout: Path) -> None:
    write_files(checkout / "../shared/mnist", tiny)
    refusal(lambda: resolve_dataset("kmnist", fetch=False))


def test_bad_file_is_reported_once_and_the_search_goes_on(
    tiny: dict[str, bytes], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", str(checkout / "data"))
    write_files(checkout / "data", tiny)
    (checkout / "data" / TEST_LABELS).write_bytes(WEB_PAGE)
    good = write_files(Path("../shared/mnist"), tiny)
    said: list[str] = []
    assert resolve_dataset("mnist", Path("data"), fetch=False, say=said.append)[1] == good
    assert len(said) == 1
    assert TEST_LABELS in said[0]
    assert "a web page" in said[0]


def test_incomplete_folder_is_reported(tiny: dict[str, bytes], checkout: Path) -> None:
    write_files(checkout / "data", tiny)
    (checkout / "data" / TEST_LABELS).unlink()
    said: list[str] = []
    refusal(lambda: resolve_dataset("mnist", fetch=False, say=said.append))
    assert len(said) == 1
    assert f"data: has no {TEST_LABELS}" in said[0]


def test_inspection_tells_the_state_of_every_file(tiny: dict[str, bytes], checkout: Path) -> None:
    folder = write_files(checkout / "given" / "mnist", tiny, suffix=".gz")
    (folder / f"{TEST_LABELS}.gz").write_bytes(WEB_PAGE)
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    files = [file for file in inspect_dataset("mnist", Path("given")) if "given" in str(file.path)]
    assert len(files) == 3 * 4
    assert {file.status for file in files[:4] + files[8:]} == {"missing"}
    statuses = [file.status for file in files[4:8]]
    assert statuses == ["verified", "verified", "missing", "bad"]
    assert files[4].path == Path("given/mnist/train-images-idx3-ubyte.gz")
    assert "a web page" in files[7].problem
    assert inspect_dataset("digits") == []


# --- downloads


@dataclass
class Mirror:
    """A server on this machine, and what it answers: each file's status, body and length."""

    url: str
    files: dict[str, bytes]
    status: int = 200
    missing_bytes: int = 0
    """How many bytes fewer than announced are sent."""
    silent_seconds: float = 0.0
    requests: list[str] = field(default_factory=list)
    """The files that were asked for, in order."""


@pytest.fixture
def mirror(tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror of the tiny data set, which torchvision believes to be MNIST's only one."""
    files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in tiny.items()}
    with serving(files) as running:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [running.url])
        yield running


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Mirror]:
    """Serve files at a port of this machine."""
    mirror = Mirror(url="", files=files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(mirror.silent_seconds)
            name = self.path.lstrip("/")
            mirror.requests.append(name)
            body = mirror.files[name]
            self.send_response(mirror.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            # Whoever asked may have lost patience.
            with suppress(ConnectionError):
                self.wfile.write(body[: len(body) - mirror.missing_bytes])

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield mirror
        finally:
            server.shutdown()


def quiet(line: str) -> None:
    """Say nothing."""


def asked_once(mirror: Mirror) -> bool:
    """Whether each file was downloaded once, for which torchvision asks twice.

    The first time is to follow redirects; it means to send a HEAD request, and sends a GET.
    """
    return Counter(mirror.requests) == dict.fromkeys(mirror.files, 2)


def files_under(folder: Path) -> set[str]:
    """All files, but for the lock, which may stay."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {file for file in files if not file.endswith(".lock")}


COMPLETE = {f"MNIST/raw/{name}" for name in FILE_SHAPES}


def test_download_of_the_real_files(
    mnist_folder: Path,
    plain_folder: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Packed anew if need be: the folder may hold plain files, or some that were packed again.
    names = [f"{name}.gz" for name in FILE_SHAPES]
    if all((mnist_folder / name).exists() for name in names):
        files = {name: (mnist_folder / name).read_bytes() for name in names}
    else:
        plain = [(plain_folder / name).read_bytes() for name in FILE_SHAPES]
        files = dict(zip(names, [gzip.compress(content, 1) for content in plain], strict=True))
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in files.items()]
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    with serving(files) as running:
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [running.url])
        found = resolve_dataset("auto", say=quiet)
    assert found == ("mnist", Path("data/MNIST/raw"))
    assert files_under(checkout / "data") == COMPLETE
    assert load_dataset(*found).mean == 0.1307


@pytest.mark.parametrize("named_by", ["argument", "environment", "default"])
def test_download_goes_where_the_user_said(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch, named_by: str
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", "" if named_by == "default" else "from-environment")
    data_dir = Path("given/deep") if named_by == "argument" else None
    target = {"argument": "given/deep", "environment": "from-environment", "default": "data"}
    said: list[str] = []
    _, folder = resolve_dataset("mnist", data_dir, say=said.append)
    assert folder == Path(target[named_by]) / "MNIST" / "raw"
    assert files_under(checkout) == {f"{folder}/{name}" for name in FILE_SHAPES}
    warnings = [f"warning: no file of MNIST in {data_dir} (--data-dir); looking elsewhere"]
    downloading = f"downloading MNIST into {folder}"
    assert said == ([*warnings, downloading] if data_dir else [downloading])
    resolve_dataset("mnist", data_dir)
    assert asked_once(mirror), "the second time nothing is downloaded"


def test_nothing_is_downloaded_unless_asked_to(mirror: Mirror, checkout: Path) -> None:
    message = refusal(lambda: resolve_dataset("mnist", fetch=False))
    assert "was not downloaded" in message
    assert mirror.requests == []
    assert files_under(checkout) == set()


def break_mirror(mirror: Mirror, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "404":
        mirror.status = 404
    elif fault == "web page":
        mirror.files = dict.fromkeys(mirror.files, WEB_PAGE)
    elif fault == "half a file":
        mirror.missing_bytes = len(mirror.files["train-images-idx3-ubyte.gz"]) // 2
    elif fault == "other content":
        # As an MD5 that somebody forged: torchvision is content, our digest is not.
        images = gzip.compress(idx_bytes(np.zeros((6, 28, 28), np.uint8)))
        mirror.files["train-images-idx3-ubyte.gz"] = images
        resources = [(name, hashlib.md5(body).hexdigest()) for name, body in mirror.files.items()]
        monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    elif fault == "silence":
        mirror.silent_seconds = 1.0
        monkeypatch.setattr(data_fetch, "SOCKET_TIMEOUT_SECONDS", 0.1)
    elif fault == "nobody there":
        mirrors = [f"http://127.0.0.1:{closed_port()}/"]
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", "404"),
        ("web page", "the server sent a web page instead of train-images-idx3-ubyte.gz"),
        ("half a file", "corrupted"),
        ("other content", "not MNIST's file, its SHA-256 differs"),
        ("silence", "timed out"),
        ("nobody there", "refused"),
    ],
)
def test_failed_download(
    mirror: Mirror,
    tiny: dict[str, bytes],
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    reason: str,
) -> None:
    """It says why and what to do, leaves nothing behind, and touches no file that was there."""
    raw = write_files(checkout / "data" / "MNIST" / "raw", tiny)
    (raw / TEST_LABELS).unlink()
    before = {path.name: path.stat().st_mtime_ns for path in raw.iterdir()}
    break_mirror(mirror, fault, monkeypatch)
    message = refusal(lambda: resolve_dataset("mnist", say=quiet))
    assert reason in message
    assert "data/MNIST/raw" in message
    assert "--dataset digits" in message
    assert all(name in message for name in FILE_SHAPES)
    assert {path.name: path.stat().st_mtime_ns for path in raw.iterdir()} == before
    assert files_under(checkout) == {f"data/MNIST/raw/{name}" for name in before}
    assert not (checkout / "data" / ".mnist.download").exists()
    assert socket.getdefaulttimeout() is None


def test_download_mends_bad_files_and_removes_what_a_killed_process_left(
    mirror: Mirror, tiny: dict[str, bytes], checkout: Path
) -> None:
    raw = write_files(checkout / "data" / "MNIST" / "raw", tiny)
    (raw / TEST_LABELS).write_bytes(b"half")
    write_files(checkout / "data" / ".mnist.download" / "MNIST" / "raw", {TEST_LABELS: b"half"})
    assert resolve_dataset("mnist", say=quiet) == ("mnist", Path("data/MNIST/raw"))
    assert files_under(checkout / "data") == COMPLETE


def test_target_that_cannot_be_written_to(mirror: Mirror, checkout: Path) -> None:
    (checkout / "data").write_text("a file, not a folder")
    message = refusal(lambda: resolve_dataset("mnist"))
    assert "could not be downloaded: data: cannot be written" in message


def test_concurrent_downloads_leave_one_good_copy(mirror: Mirror, checkout: Path) -> None:
    mirror.silent_seconds = 0.03
    num_threads = 4
    together = threading.Barrier(num_threads)

    def fetch(_: int) -> tuple[str, Path | None]:
        together.wait()
        return resolve_dataset("mnist", say=quiet)

    with ThreadPoolExecutor(num_threads) as pool:
        found = set(pool.map(fetch, range(num_threads)))
    assert found == {("mnist", Path("data/MNIST/raw"))}
    assert asked_once(mirror)
    assert files_under(checkout / "data") == COMPLETE
    load_dataset("mnist", Path("data/MNIST/raw"))


def test_waiting_for_another_process_is_said_and_ends(
    mirror: Mirror, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process is a real one, which holds the lock until it is killed."""
    monkeypatch.setattr(data_fetch, "LOCK_TIMEOUT_SECONDS", 0.1)
    program = (
        "import filelock, time, pathlib; pathlib.Path('data').mkdir();"
        "lock = filelock.FileLock('data/.mnist.lock'); lock.acquire(); print('locked', flush=True);"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", program]
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            message = refusal(lambda: resolve_dataset("mnist", say=said.append))
        finally:
            other.kill()
    assert "another process holds data/.mnist.lock" in message
    assert said == ["waiting for another process that downloads MNIST"]
    resolve_dataset("mnist", say=quiet)
    assert files_under(checkout / "data") == COMPLETE


def test_auto_falls_back_to_digits_and_says_so_loudly(checkout: Path) -> None:
    said: list[str] = []
    assert resolve_dataset("auto", say=said.append) == ("digits", None)
    assert len(said) >= 5
    loud = "\n".join(said)
    assert "These are NOT MNIST's numbers" in loud
    assert "refused" in loud
    assert "put train-images-idx3-ubyte" in loud
    assert "--dataset mnist" in loud
    assert files_under(checkout) == set()


def test_auto_is_mnist_where_mnist_is(tiny: dict[str, bytes], checkout: Path) -> None:
    write_files(checkout / "data", tiny)
    said: list[str] = []
    assert resolve_dataset("auto", say=said.append) == ("mnist", Path("data"))
    assert said == []


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_a_data_set_asked_for_by_name_has_no_substitute(name: str, checkout: Path) -> None:
    message = refusal(lambda: resolve_dataset(name, say=quiet))
    assert "refused" in message
    assert "--dataset digits" in message
    shutil.rmtree(checkout / "data")
    assert "was not downloaded" in refusal(lambda: resolve_dataset(name, fetch=False))
