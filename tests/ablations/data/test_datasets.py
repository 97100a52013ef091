"""Data sets are found in the documented order and verified to the last byte.

Most tests use a data set of ten images under MNIST's name; those that take `mnist_folder` use
the real files.
"""

import gzip
import hashlib
import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.data.dataset import Dataset, pixel_statistics
from ablations.data.datasets import inspect_dataset, load_dataset, resolve_dataset
from ablations.data.idx import ContentError, parse_idx, unpack_gzip
from ablations.data.sources import (
    FASHION_MNIST,
    FILE_SHAPES,
    KMNIST,
    MNIST,
    DataSource,
    read_file,
)
from tests.faults import tell_fault
from tests.tiny_data import TEST_LABELS, WEB_PAGE, idx_file, refusal, write_files

REPOSITORY = Path(__file__).resolve().parents[3]
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="session")
def labels(mnist_folder: Path) -> bytes:
    """MNIST's uncompressed file of test labels."""
    path = mnist_folder / TEST_LABELS
    return path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())


def same_arrays(first: Dataset, second: Dataset) -> bool:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


# --- the data sets themselves


def test_mnist_is_the_original(mnist_folder: Path) -> None:
    lines: list[str] = []
    name, folder = resolve_dataset("auto", mnist_folder, fetch=False, log=lines.append)
    dataset = load_dataset(name, folder)
    assert (dataset.mean, dataset.std) == (0.1307, 0.3081)
    assert (dataset.id.name, dataset.id.num_train, dataset.id.num_test) == ("mnist", 60_000, 10_000)
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert (dataset.title, dataset.class_names[3]) == ("MNIST", "3")
    assert lines == []


def test_gzipped_and_plain_files_are_the_same_data_set(
    tiny: dict[str, bytes], tmp_path: Path
) -> None:
    plain = load_dataset("mnist", write_files(tmp_path / "plain", tiny))
    packed = load_dataset("mnist", write_files(tmp_path / "packed", tiny, suffix=".gz"))
    assert same_arrays(packed, plain)
    values = b"".join(content[16 if "idx3" in name else 8 :] for name, content in tiny.items())
    assert plain.id.sha256 == packed.id.sha256 == hashlib.sha256(values).hexdigest()
    assert plain.train_images.flags.writeable, "torch.from_numpy warns of arrays that are not"


@pytest.mark.skipif(not FASHION_FOLDER.exists(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_the_original() -> None:
    dataset = load_dataset(*resolve_dataset("fashion-mnist", fetch=False))
    assert (dataset.mean, dataset.std) == (0.2860, 0.3530)
    assert dataset.class_names[9] == "Ankle boot"
    message = refusal(lambda: resolve_dataset("auto", FASHION_FOLDER, fetch=False))
    assert "belongs to Fashion-MNIST, not to MNIST" in message


@pytest.mark.parametrize("source", [FASHION_MNIST, KMNIST], ids=lambda source: source.name)
def test_mnist_is_not_taken_for_another(source: DataSource, mnist_folder: Path) -> None:
    message = refusal(lambda: load_dataset(source.name, mnist_folder))
    assert f"belongs to MNIST, not to {source.title}" in message


@pytest.mark.parametrize("source", [MNIST, FASHION_MNIST, KMNIST], ids=lambda source: source.name)
def test_sources_are_torchvisions(source: DataSource) -> None:
    theirs = getattr(torchvision.datasets, source.folder_name)
    assert set(source.mirrors) >= set(theirs.mirrors)
    if source is not MNIST:
        assert list(source.class_names) == theirs.classes
    if source is KMNIST:
        ours = zip(FILE_SHAPES, source.gzip_md5, strict=True)
        assert [(f"{name}.gz", md5) for name, md5 in ours] == theirs.resources


def test_pixel_statistics() -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 28, 28), np.uint8)
    pixels = images / 255
    assert pixel_statistics(images) == (round(pixels.mean(), 4), round(pixels.std(), 4))


def test_digits() -> None:
    assert resolve_dataset("digits", fetch=False) == ("digits", None)
    assert inspect_dataset("digits") == []
    dataset = load_dataset("digits", None)
    assert dataset.train_images.shape == (1_437, 28, 28)
    assert dataset.test_images.shape == (360, 28, 28)
    assert min(np.bincount(dataset.test_labels, minlength=10)) > 30
    frame = dataset.train_images.copy()
    frame[:, 4:24, 4:24] = 0
    assert not frame.any()
    # The same on every machine: if a new Pillow or scikit-learn changes them, old records are of
    # other data.
    digest = "3c6bc6a52dc36cc05516ac9451b05be9f68d5688b7b6af0cc5c8f81697fcdcab"
    assert dataset.id.sha256 == digest


def test_unknown_name_and_missing_folder() -> None:
    for call in (resolve_dataset, inspect_dataset, lambda name: load_dataset(name, None)):
        message = refusal(lambda call=call: call("fashon-mnist"))
        assert message == (
            "unknown data set 'fashon-mnist' (there are mnist, fashion-mnist, kmnist, digits)"
        )
    assert "resolve_dataset" in refusal(lambda: load_dataset("mnist", None))


def test_import_is_light() -> None:
    heavy = {"torch", "torchvision", "sklearn", "scipy", "PIL", "pooch", "requests"}
    program = f"import sys, ablations.data.datasets; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# --- damaged files


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damage_is_noticed(labels: bytes, tmp_path: Path, suffix: str) -> None:
    """A changed bit, a cut, an inserted or a repeated piece, at random places of a real file."""
    original = gzip.compress(labels, mtime=0) if suffix else labels
    path, generator = tmp_path / f"{TEST_LABELS}{suffix}", random.Random(0)
    damaged = []
    for _ in range(60):
        # The first ten bytes of a gzip file hold a date and a system, which change nothing.
        start, end = sorted(generator.sample(range(10, len(original)), 2))
        flipped = bytes([original[start] ^ 1 << start % 8])
        damaged.append(original[:start] + flipped + original[start + 1 :])
        damaged.append(original[:start])
        damaged.append(original[:start] + b"\1" + original[start:])
        damaged.append(original[:end] + original[start:])
    for content in damaged:
        path.write_bytes(content)
        refusal(lambda: read_file(MNIST, path, TEST_LABELS), ContentError)
    path.write_bytes(original)
    assert read_file(MNIST, path, TEST_LABELS).tobytes() == labels[8:]
    fault = "bits flipped, pieces cut off, inserted or repeated in a file"
    tell_fault("data files", fault, "refused, in one line", times=len(damaged))


@settings(max_examples=100, derandomize=True)
@given(content=st.binary(max_size=200))
def test_no_content_causes_another_exception(content: bytes) -> None:
    refusal(lambda: unpack_gzip(content, 1_000), ContentError)
    refusal(lambda: parse_idx(content, (4, 28, 28)), ContentError)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "starts with nothing at all"),
        (b"\0\0\x08\x01\0\0", "ends after 6 bytes, in its header"),
        (b"\0\0\x0d\x01\0\0\0\x04abcd", "starts with 00000d01, not 00000801"),
        (idx_file(np.zeros((4, 28, 28), np.uint8)), "starts with 00000803, not 00000801"),
        (idx_file(np.zeros(5, np.uint8)), "its shape is (5,), not (4,)"),
        (idx_file(np.zeros(4, np.uint8))[:-1], "ends after 11 of its 12 bytes"),
        (idx_file(np.zeros(4, np.uint8)) + b"\0", "goes on after its 12 bytes"),
        (idx_file(np.array([1, 2, 3, 10], np.uint8)), "has the label 10"),
        (WEB_PAGE, "starts with a web page"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_problem_is_stated_with_its_fix(
    tiny: dict[str, bytes], tmp_path: Path, content: bytes, problem: str, suffix: str
) -> None:
    """Also where no digest is known: of KMNIST's plain files only the form can be verified."""
    path = write_files(tmp_path, tiny) / f"{TEST_LABELS}{suffix}"
    (tmp_path / TEST_LABELS).unlink()
    path.write_bytes(gzip.compress(content) if suffix else content)
    message = refusal(lambda: load_dataset("kmnist", tmp_path))
    assert message.startswith(f"{path}: {problem}")
    assert message.endswith("; replace it by the original file, or delete it")


def test_not_gzipped_and_missing(tiny: dict[str, bytes], tmp_path: Path) -> None:
    write_files(tmp_path, tiny)
    (tmp_path / TEST_LABELS).unlink()
    missing = f"{tmp_path / TEST_LABELS}: not there, nor with .gz; put MNIST's there"
    assert refusal(lambda: load_dataset("mnist", tmp_path)) == missing
    (tmp_path / f"{TEST_LABELS}.gz").write_bytes(WEB_PAGE)
    message = refusal(lambda: load_dataset("mnist", tmp_path))
    assert "starts with a web page, so it is not gzipped" in message


@pytest.mark.parametrize("kind", ["bomb", "many members", "huge plain file", "huge gzipped file"])
def test_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    """Small files that unpack to much, and files of a terabyte, as the file system reports it."""
    path = tmp_path / ("labels" if kind == "huge plain file" else "labels.gz")
    header = b"\0\0\x08\x01\0\0\x27\x10"
    if kind == "bomb":
        path.write_bytes(gzip.compress(header + bytes(200_000_000), 9))
    elif kind == "many members":
        path.write_bytes(gzip.compress(header) + gzip.compress(bytes(100_000)) * 5_000)
    else:
        path.write_bytes(gzip.compress(header) if path.suffix else header)
        os.truncate(path, 10**12)
    tracemalloc.start()
    try:
        refusal(lambda: read_file(MNIST, path, TEST_LABELS), ContentError)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    tell_fault("data files", "gzip bombs and huge files", "refused; a few megabytes of memory")


# --- where files are searched


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
    write_files(Path("../shared/mnist"), tiny)
    refusal(lambda: resolve_dataset("kmnist", fetch=False))


def test_bad_file_is_reported_once_and_the_search_goes_on(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", str(Path("data").absolute()))
    (write_files(Path("data"), tiny) / TEST_LABELS).write_bytes(WEB_PAGE)
    good = write_files(Path("../shared/mnist"), tiny)
    lines: list[str] = []
    assert resolve_dataset("mnist", Path("data"), fetch=False, log=lines.append)[1] == good
    assert len(lines) == 1
    assert lines[0].startswith(f"warning: data/{TEST_LABELS}: starts with a web page")


def test_incomplete_folder_is_reported(tiny: dict[str, bytes]) -> None:
    (write_files(Path("data"), tiny) / TEST_LABELS).unlink()
    lines: list[str] = []
    refusal(lambda: resolve_dataset("mnist", fetch=False, log=lines.append))
    assert lines == [f"warning: data: has no {TEST_LABELS}; put what is missing there"]


def test_bad_file_does_not_hide_a_good_one(tiny: dict[str, bytes]) -> None:
    """A full disk leaves a half unpacked file beside the gzipped one."""
    folder = write_files(Path("data"), tiny, suffix=".gz")
    plain, packed = folder / TEST_LABELS, folder / f"{TEST_LABELS}.gz"
    plain.write_bytes(tiny[TEST_LABELS][:-1])
    lines: list[str] = []
    load_dataset(*resolve_dataset("mnist", fetch=False, log=lines.append))
    assert [line.split(":")[:2] for line in lines] == [["warning", f" {plain}"]]
    # Of KMNIST, the gzipped file is read: the plain one has no known digest.
    original = load_dataset("kmnist", folder).id
    plain.write_bytes(tiny[TEST_LABELS][:-1] + b"\x09")
    assert load_dataset("kmnist", folder).id == original
    packed.write_bytes(b"bad")
    assert load_dataset("kmnist", folder).id != original


def test_good_files_are_read_through_links(tiny: dict[str, bytes], checkout: Path) -> None:
    elsewhere = write_files(checkout.parent / "elsewhere", tiny)
    Path("data/mnist").mkdir(parents=True)
    for name in FILE_SHAPES:
        Path("data/mnist", name).symlink_to(elsewhere / name)
    assert resolve_dataset("mnist", fetch=False) == ("mnist", Path("data/mnist"))
    Path("linked").symlink_to(elsewhere)
    assert resolve_dataset("mnist", Path("linked"), fetch=False) == ("mnist", Path("linked"))


def test_inspection_lists_the_state_of_every_file(tiny: dict[str, bytes]) -> None:
    folder = write_files(Path("given/mnist"), tiny, suffix=".gz")
    (folder / f"{TEST_LABELS}.gz").write_bytes(WEB_PAGE)
    (folder / "t10k-images-idx3-ubyte.gz").unlink()
    files = [file for file in inspect_dataset("mnist", Path("given")) if "given" in str(file.path)]
    assert len(files) == 3 * 4
    assert {file.status for file in files[:4] + files[8:]} == {"missing"}
    assert [file.status for file in files[4:8]] == ["verified", "verified", "missing", "bad"]
    assert files[4].path == Path("given/mnist/train-images-idx3-ubyte.gz")
    assert "a web page" in files[7].problem
