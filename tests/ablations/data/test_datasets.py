"""Data sets are found in the promised order, verified to the byte, and fetched whole or not at all.

Most tests use a data set of ten images under MNIST's name; those that take `mnist_folder` use
the real files.
"""

import gzip
import hashlib
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.data.dataset import Dataset, pixel_statistics
from ablations.data.datasets import (
    DATASET_NAMES,
    DataError,
    inspect_dataset,
    load_dataset,
    resolve_dataset,
)
from ablations.data.sources import (
    FASHION_MNIST,
    FILE_SHAPES,
    KMNIST,
    MNIST,
    SOURCES,
    DataSource,
    read_file,
)
from tests.faults import tell_fault
from tests.tiny_data import (
    TEST_LABELS,
    WEB_PAGE,
    idx_file,
    isolate,
    make_tiny,
    refusal,
    write_files,
)

REPOSITORY = Path(__file__).resolve().parents[3]
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, no folder in the environment, and no mirror that answers."""
    return isolate(tmp_path / "checkout", monkeypatch)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `mnist` and `kmnist` a data set of ten images; the content of its files."""
    return make_tiny(monkeypatch)


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


def refused_labels(path: Path, content: bytes, source: DataSource | None = None) -> str:
    """The message with which a file of test labels is refused: it names the file."""
    path.write_bytes(content)
    message = refusal(lambda: read_file(source or SOURCES["mnist"], path, TEST_LABELS))
    assert message.startswith(f"{path}: ")
    assert "; " in message, "the way out is missing"
    return message


def assert_clear(error: DataError, path: Path) -> None:
    """One line, which names the file and the way out."""
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert "; " in message, "the way out is missing"
    assert "\n" not in message


def same_arrays(first: Dataset, second: Dataset) -> bool:
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


# --- the data sets themselves


def test_mnist_is_the_original(mnist_folder: Path) -> None:
    said: list[str] = []
    name, folder = resolve_dataset("mnist", mnist_folder, fetch=False, log=said.append)
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
    labels = idx_file(np.frombuffer(content, np.uint8, offset=8, count=10_000))
    assert "its SHA-256 differs" in refused_labels(tmp_path / TEST_LABELS, labels, MNIST)
    read_file(KMNIST, tmp_path / TEST_LABELS, TEST_LABELS)


def test_class_names_are_torchvisions() -> None:
    assert list(FASHION_MNIST.class_names) == torchvision.datasets.FashionMNIST.classes
    assert list(KMNIST.class_names) == torchvision.datasets.KMNIST.classes


def test_digests_of_kmnist_are_torchvisions() -> None:
    published = dict(torchvision.datasets.KMNIST.resources)
    ours = zip(FILE_SHAPES, KMNIST.gzip_md5, strict=True)
    assert {f"{name}.gz": md5 for name, md5 in ours} == published


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
    program = f"import sys, ablations.data.datasets; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# --- damaged files


def labels_in(plain_folder: Path, suffix: str) -> bytes:
    """MNIST's test labels, plain or gzipped."""
    content = (plain_folder / TEST_LABELS).read_bytes()
    return gzip.compress(content, mtime=0) if suffix else content


def labels_if_loaded(path: Path) -> bytes | None:
    """What a file of MNIST's test labels is loaded as; None if it is refused, in a clear line."""
    try:
        return read_file(MNIST, path, TEST_LABELS).tobytes()
    except DataError as error:
        assert_clear(error, path)
        return None


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_changed_byte_is_noticed(plain_folder: Path, tmp_path: Path, suffix: str) -> None:
    """Refused, unless it is one of the few bytes of a gzip file on which nothing depends."""
    original, path = labels_in(plain_folder, suffix), tmp_path / f"{TEST_LABELS}{suffix}"
    path.write_bytes(original)
    harmless = []
    with path.open("r+b", buffering=0) as file:
        for position, byte in enumerate(original):
            os.pwrite(file.fileno(), bytes([byte ^ 1 << position % 8]), position)
            labels = labels_if_loaded(path)
            if labels is not None:
                harmless.append(position)
                assert labels == labels_in(plain_folder, "")[8:]
            os.pwrite(file.fileno(), bytes([byte]), position)
    assert labels_if_loaded(path), "all bytes are as they were"
    date_and_system = set(range(3, 10)) if suffix else set()
    assert set(harmless) <= date_and_system
    fault = f"a bit flipped in a {'gzipped' if suffix else 'plain'} file, at every byte"
    outcome = "refused, or without effect on the content" if suffix else "refused, in one line"
    tell_fault("data files", fault, outcome, times=len(original))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_every_cut_off_file_is_noticed(plain_folder: Path, tmp_path: Path, suffix: str) -> None:
    content, path = labels_in(plain_folder, suffix), tmp_path / f"{TEST_LABELS}{suffix}"
    path.write_bytes(content)
    for num_bytes in reversed(range(len(content))):
        os.truncate(path, num_bytes)
        assert labels_if_loaded(path) is None
    fault = f"a {'gzipped' if suffix else 'plain'} file cut off, at every byte"
    tell_fault("data files", fault, "refused, in one line", times=len(content))


def damages(num_bytes: int) -> st.SearchStrategy[list[tuple[str, int, int, bytes]]]:
    """Some changes to a file: which, from where to where, and the bytes that it takes."""
    position = st.integers(0, num_bytes)
    # Bytes of gzip's and of idx's own, so that some get past the first checks.
    telling = st.sampled_from([b"\x1f\x8b\x08\0", b"\0\0\x08\x01", b"\0\0\x27\x10", bytes(100)])
    content = st.one_of(st.binary(max_size=40), telling)
    kinds = st.sampled_from(["overwrite", "insert", "remove", "repeat", "append", "swap"])
    return st.lists(st.tuples(kinds, position, position, content), min_size=1, max_size=4)


def damaged(content: bytes, changes: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, first, second, piece in changes:
        start, end = sorted((first, second))
        if kind == "overwrite":
            content = content[:start] + piece + content[start + len(piece) :]
        elif kind == "insert":
            content = content[:start] + piece + content[start:]
        elif kind == "remove":
            content = content[:start] + content[end:]
        elif kind == "repeat":
            content = content[:end] + content[start:]
        elif kind == "append":
            content = content + piece
        else:
            content = content[end:] + content[start:end] + content[:start]
    return content


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_file_is_never_loaded(plain_folder: Path, tmp_path: Path, suffix: str) -> None:
    """Whatever was done to it, packed or not, and also before it was packed."""
    original, plain = labels_in(plain_folder, suffix), labels_in(plain_folder, "")
    path = tmp_path / f"{TEST_LABELS}{suffix}"
    num_tried = 0

    @settings(max_examples=1_000)
    @given(changes=damages(len(original)), repacks=st.booleans())
    def check(changes: list[tuple[str, int, int, bytes]], repacks: bool) -> None:
        nonlocal num_tried
        if suffix and repacks:
            stored = gzip.compress(damaged(plain, changes), 1, mtime=0)
        else:
            stored = damaged(original, changes)
        path.write_bytes(stored)
        assert labels_if_loaded(path) in (None, plain[8:])
        num_tried += 1

    check()
    fault = "pieces overwritten, inserted, removed, repeated, swapped"
    tell_fault("data files", fault, "refused, or the same content", times=num_tried)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damage_where_only_the_gzipped_files_are_known(
    tiny: dict[str, bytes], tmp_path: Path, suffix: str
) -> None:
    """Plain, it keeps its format, counts and labels at least; gzipped, every byte counts."""
    original = gzip.compress(tiny[TEST_LABELS], mtime=0) if suffix else tiny[TEST_LABELS]
    path = tmp_path / f"{TEST_LABELS}{suffix}"
    num_tried = 0

    @settings(max_examples=1_000)
    @given(changes=damages(len(original)))
    def check(changes: list[tuple[str, int, int, bytes]]) -> None:
        nonlocal num_tried
        stored = damaged(original, changes)
        path.write_bytes(stored)
        try:
            labels = read_file(SOURCES["kmnist"], path, TEST_LABELS)
        except DataError as error:
            assert_clear(error, path)
        else:
            assert stored == original or not suffix
            assert labels.shape == (4,)
            assert labels.max() < 10
        num_tried += 1

    check()
    if suffix:
        fault = "a gzipped file of which only the MD5 is known: damaged"
        tell_fault("data files", fault, "refused, in one line", times=num_tried)


@settings(max_examples=300)
@given(content=st.binary(max_size=200), suffix=st.sampled_from(["", ".gz"]))
def test_no_content_causes_another_exception(scratch: Path, content: bytes, suffix: str) -> None:
    path = scratch / f"any{suffix}"
    path.write_bytes(content)
    refusal(lambda: read_file(KMNIST, path, TEST_LABELS))


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


def bomb(kind: str) -> bytes:
    """Less than a megabyte that would fill the memory, or take for ever."""
    header = b"\0\0\x08\x01" + struct.pack(">I", 10_000)
    if kind == "zeros":
        packer = zlib.compressobj(9, wbits=31)
        zeros = bytes(1_000_000)
        return packer.compress(header) + b"".join(map(packer.compress, [zeros] * 900))
    if kind == "many small files in one":
        return gzip.compress(header, mtime=0) + gzip.compress(bytes(100_000), mtime=0) * 5_000
    if kind == "nothing, again and again":
        return gzip.compress(b"", mtime=0) * 40_000
    if kind == "a name without end":
        return b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 990_000
    return gzip.compress(header + bytes(10_000), mtime=0) + bytes(100_000_000)


BOMBS = ("zeros", "many small files in one", "nothing, again and again", "a name without end")


@pytest.mark.parametrize("kind", [*BOMBS, "zeros after the end"])
def test_gzip_bomb_is_not_unpacked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(bomb(kind))
    tracemalloc.start()
    try:
        message = refusal(lambda: read_file(MNIST, path, TEST_LABELS))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message.startswith(f"{path}: ")
    assert peak_bytes < 6_000_000
    tell_fault("data files", "gzip bombs", "refused; a few megabytes of memory")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_file_far_too_large(tmp_path: Path, suffix: str) -> None:
    """A terabyte, as the file system tells it."""
    path = tmp_path / f"labels{suffix}"
    path.write_bytes(gzip.compress(bytes(10), mtime=0) if suffix else b"\0\0\x08\x01\0\0\x27\x10")
    os.truncate(path, 10**12)
    message = refusal(lambda: read_file(MNIST, path, TEST_LABELS))
    assert message.startswith(f"{path}: goes on after ")
    tell_fault("data files", "a terabyte in place of a file", "refused at once")


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
    assert resolve_dataset("mnist", Path("data"), fetch=False, log=said.append)[1] == good
    assert len(said) == 1
    assert TEST_LABELS in said[0]
    assert "a web page" in said[0]


def test_incomplete_folder_is_reported(tiny: dict[str, bytes], checkout: Path) -> None:
    write_files(checkout / "data", tiny)
    (checkout / "data" / TEST_LABELS).unlink()
    said: list[str] = []
    refusal(lambda: resolve_dataset("mnist", fetch=False, log=said.append))
    assert len(said) == 1
    assert f"data: has no {TEST_LABELS}" in said[0]


@pytest.mark.parametrize("name", ["mnist", "kmnist"])
def test_bad_file_does_not_hide_a_good_one(
    tiny: dict[str, bytes], checkout: Path, name: str
) -> None:
    """Half a file beside the whole one, gzipped, is what unpacking on a full disk leaves."""
    write_files(checkout / "data", tiny, suffix=".gz")
    (checkout / "data" / TEST_LABELS).write_bytes(tiny[TEST_LABELS][:-1])
    said: list[str] = []
    found = resolve_dataset(name, fetch=False, log=said.append)
    load_dataset(*found)
    (checkout / "data" / f"{TEST_LABELS}.gz").write_bytes(b"bad")
    write_files(checkout / "data", {TEST_LABELS: tiny[TEST_LABELS]})
    load_dataset(*found)
    if name == "mnist":
        assert [line.split(":")[:2] for line in said] == [["warning", f" data/{TEST_LABELS}"]]


def test_of_two_files_the_one_that_is_verified_best_is_read(
    tiny: dict[str, bytes], checkout: Path
) -> None:
    """Of KMNIST's plain files nothing but the form can be verified."""
    original = load_dataset("kmnist", write_files(checkout / "data", tiny, suffix=".gz"))
    write_files(checkout / "data", {TEST_LABELS: tiny[TEST_LABELS][:-1] + b"\x09"})
    assert load_dataset("kmnist", Path("data")).id == original.id


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
