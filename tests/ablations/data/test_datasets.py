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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from ablations.data.datasets import inspect_dataset, load_dataset, resolve_dataset
from ablations.data.search import ContentError, read_file, search_folder
from ablations.data.sources import FASHION_MNIST, FILE_SHAPES, KMNIST, MNIST, SOURCES, DataSource
from tests.faults import count_fault
from tests.tiny_data import TEST_LABELS, WEB_PAGE, refusal, write_files

REPOSITORY = Path(__file__).resolve().parents[3]
FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="session")
def labels(mnist_folder: Path) -> bytes:
    """MNIST's uncompressed file of test labels."""
    path = mnist_folder / TEST_LABELS
    return path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())


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
    values = b"".join(content[16 if "idx3" in name else 8 :] for name, content in tiny.items())
    assert plain.id.sha256 == packed.id.sha256 == hashlib.sha256(values).hexdigest()
    assert plain.train_images.flags.writeable, "torch.from_numpy warns of arrays that are not"


@pytest.mark.skipif(not FASHION_FOLDER.exists(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_the_original() -> None:
    dataset = load_dataset(*resolve_dataset("fashion-mnist", fetch=False))
    assert (dataset.mean, dataset.std) == (0.2860, 0.3530)
    assert dataset.class_names[9] == "Ankle boot"
    message = refusal(lambda: load_dataset("mnist", FASHION_FOLDER))
    assert "has fashion-mnist, not MNIST" in message


@pytest.mark.parametrize("source", [FASHION_MNIST, KMNIST], ids=lambda source: source.name)
def test_mnist_is_not_taken_for_another(source: DataSource, mnist_folder: Path) -> None:
    message = refusal(lambda: load_dataset(source.name, mnist_folder))
    assert f"has mnist, not {source.title}: choose it with --dataset" in message
    [file, *_] = mnist_folder.glob("train-images*")
    message = refusal(lambda: read_file(source, file), ContentError)
    assert message == "its digest is wrong: MNIST's train-images-idx3-ubyte"


@pytest.mark.parametrize("source", [MNIST, FASHION_MNIST, KMNIST], ids=lambda source: source.name)
def test_sources_are_torchvisions(source: DataSource) -> None:
    theirs = getattr(torchvision.datasets, source.folder_name)
    assert set(source.mirrors) >= set(theirs.mirrors)
    if source is not MNIST:
        assert list(source.class_names) == theirs.classes
    if source is KMNIST:
        ours = zip(FILE_SHAPES, source.gzip_md5, strict=True)
        assert [(f"{name}.gz", md5) for name, md5 in ours] == theirs.resources


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


def test_unknown_name() -> None:
    for call in (resolve_dataset, inspect_dataset, lambda name: load_dataset(name, None)):
        message = refusal(lambda call=call: call("fashon-mnist"))
        assert message == (
            "unknown data set 'fashon-mnist' (there are mnist, fashion-mnist, kmnist, digits)"
        )


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
    for _ in range(40):
        # The first ten bytes of a gzip file hold a date and a system, which change nothing.
        start, end = sorted(generator.sample(range(10, len(original)), 2))
        before, after = original[:start], original[start:]
        flipped = bytes([after[0] ^ 1 << start % 8])
        repeated = original[:end] + after
        damaged += [before + flipped + after[1:], before, before + b"\1" + after, repeated]
    for content in damaged:
        path.write_bytes(content)
        refusal(lambda: read_file(MNIST, path), ContentError)
    path.write_bytes(original)
    name, values = read_file(MNIST, path)
    assert (name, values.tobytes()) == (TEST_LABELS, labels[8:])
    fault = "bits flipped, pieces cut off, inserted or repeated in a file"
    count_fault("data files", fault, "refused, in one line", times=len(damaged))


@pytest.mark.parametrize(
    ("suffix", "content", "problem"),
    [
        ("", b"", "an empty file"),
        ("", WEB_PAGE, "a web page"),
        (".gz", WEB_PAGE, "a web page"),
        (".gz", b"not gzipped", "not an idx file"),
        ("", b"\0\0\x08\1\0\0\0\x09" + bytes(9), "an idx file of 9 values"),
        # Without mtime=0 the header holds the time of collection, and workers collect different tests.
        (
            ".gz",
            gzip.compress(b"\0\0\x08\1\0\0\0\4" + bytes(4), mtime=0)[:-1],
            "cannot be read (Compressed file ended",
        ),
    ],
)
def test_problem_is_stated_with_its_fix(
    tiny: dict[str, bytes], suffix: str, content: bytes, problem: str
) -> None:
    folder = write_files(Path("data"), tiny)
    (folder / TEST_LABELS).unlink()
    message = refusal(lambda: load_dataset("mnist", folder))
    assert message == f"data: has no {TEST_LABELS}; put what is missing there"
    (folder / f"{TEST_LABELS}{suffix}").write_bytes(content)
    message = refusal(lambda: load_dataset("mnist", folder))
    assert message.startswith(f"data/{TEST_LABELS}{suffix}: {problem}")
    assert message.endswith("; for the original: cli.py data --fetch")


@pytest.mark.parametrize("kind", ["bomb", "many members", "huge plain file", "huge gzipped file"])
def test_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    """Small files that unpack to much, and files of a terabyte, as the file system reports it."""
    path = tmp_path / "labels"
    header = b"\0\0\x08\x01" + (10_000).to_bytes(4, "big")
    if kind == "bomb":
        path.write_bytes(gzip.compress(header + bytes(200_000_000), 9))
    elif kind == "many members":
        path.write_bytes(gzip.compress(header) + gzip.compress(bytes(100_000)) * 5_000)
    else:
        path.write_bytes(header if kind == "huge plain file" else gzip.compress(header))
        os.truncate(path, 10**12)
    tracemalloc.start()
    try:
        refusal(lambda: read_file(MNIST, path), ContentError)
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    count_fault("data files", "gzip bombs and huge files", "refused; a few megabytes of memory")


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
    in_order[-2].rmdir()
    in_order[-2].symlink_to(write_files(checkout / "elsewhere", tiny))
    assert resolve_dataset("mnist", fetch=False) == ("mnist", in_order[-2])
    refusal(lambda: resolve_dataset("kmnist", fetch=False))


def test_search_reports_bad_and_missing_files_and_goes_on(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_DATA_DIR", str(Path("data").absolute()))
    (write_files(Path("data"), tiny) / TEST_LABELS).write_bytes(WEB_PAGE)
    Path("data/train-labels-idx1-ubyte").unlink()
    good = write_files(Path("../shared/mnist"), tiny)
    lines: list[str] = []
    assert resolve_dataset("mnist", Path("data"), fetch=False, log=lines.append)[1] == good
    bad, missing = lines
    assert bad.startswith(f"warning: data/{TEST_LABELS}: a web page")
    names = f"train-labels-idx1-ubyte, {TEST_LABELS}"
    assert missing == f"warning: data (--data-dir): has no {names}; put what is missing there"
    assert inspect_dataset("mnist", Path("data"))[-4:] == [
        f"verified  {good / name}" for name in FILE_SHAPES
    ]


def test_bad_file_does_not_hide_a_good_one(tiny: dict[str, bytes]) -> None:
    """A full disk leaves a half unpacked file beside the gzipped one."""
    folder = write_files(Path("data"), tiny, suffix=".gz")
    plain = folder / TEST_LABELS
    plain.write_bytes(tiny[TEST_LABELS][:-1])
    for name, warnings in {"mnist": [f"warning: {plain}"], "kmnist": []}.items():
        lines: list[str] = []
        load_dataset(*resolve_dataset(name, fetch=False, log=lines.append))
        assert [line.split(": its digest")[0] for line in lines] == warnings


# --- data that is almost right


def in_folders_of_their_names(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        write_files(folder / name, {name: content})


def with_names(change: Callable[[str], str]) -> Callable[..., object]:
    """Writes the files under other names."""

    def write(folder: Path, files: dict[str, bytes]) -> None:
        write_files(folder, {change(name): content for name, content in files.items()})

    return write


def hidden_copies_beside(folder: Path, files: dict[str, bytes]) -> None:
    """As macOS leaves them on a disk of another system."""
    write_files(folder / "MNIST", files)
    write_files(folder, {f"._{name}": b"\0\5\x16\7 attributes" for name in files})


ALMOST_RIGHT: dict[str, Callable[[Path, dict[str, bytes]], object]] = {
    "names with a dot": with_names(lambda name: name.replace("-idx", ".idx")),
    "other case": with_names(str.upper),
    "a second download of a browser": with_names(lambda name: f"{name} (1)"),
    "any names": with_names(lambda name: hashlib.sha256(name.encode()).hexdigest()),
    "one folder deeper": lambda folder, files: write_files(folder / "mine", files),
    "the folder above MNIST/raw": lambda folder, files: write_files(folder / "x/MNIST/raw", files),
    "a folder of each file's name": in_folders_of_their_names,
    "a folder of each part": lambda folder, files: [
        write_files(folder / name.split("-")[0], {name: files[name]}) for name in files
    ],
    "gzipped without .gz": lambda folder, files: write_files(
        folder, {name: gzip.compress(content) for name, content in files.items()}
    ),
    "plain with .gz": with_names(lambda name: f"{name}.gz"),
    "names of one another": lambda folder, files: write_files(
        folder, dict(zip(reversed(files), files.values(), strict=True))
    ),
    "hidden files beside": hidden_copies_beside,
}


@pytest.mark.parametrize("form", ALMOST_RIGHT)
def test_content_decides_and_not_the_name(tiny: dict[str, bytes], form: str) -> None:
    ALMOST_RIGHT[form](Path("given"), tiny)
    lines: list[str] = []
    name, folder = resolve_dataset("auto", Path("given"), fetch=False, log=lines.append)
    expected = load_dataset("mnist", write_files(Path("expected"), tiny))
    assert load_dataset(name, folder).id == expected.id
    assert lines == []


OTHER_FORMS = {
    "mnist.npz": b"PK\3\4",
    "mnist.pkl.gz": gzip.compress(b"\x80\2cos\nsystem\n(S'touch unpickled'\ntR."),
    "mnist_train.csv": b"label,1x1\n5,0\n",
    "train.parquet": b"PAR1",
    "archive.zip": b"PK\3\4",
    "MNIST.tar.gz": gzip.compress(bytes(512)),
    "training/5/0.png": b"\x89PNG",
    "training.pt": b"PK\3\4",
}


@pytest.mark.parametrize("file", OTHER_FORMS)
@pytest.mark.parametrize("is_elsewhere", [True, False])
def test_other_form_is_named_in_one_line(
    tiny: dict[str, bytes], file: str, is_elsewhere: bool
) -> None:
    path = Path("given") / file
    path.parent.mkdir(parents=True)
    path.write_bytes(OTHER_FORMS[file])
    lines: list[str] = []
    if is_elsewhere:
        write_files(Path("data"), tiny)
        resolve_dataset("mnist", Path("given"), fetch=False, log=lines.append)
    else:
        refusal(lambda: resolve_dataset("mnist", Path("given"), fetch=False, log=lines.append))
    [line] = lines
    note = f"given (--data-dir): has {file}, but MNIST is read from four idx files such as train-"
    assert line.startswith(f"warning: {note}")
    assert inspect_dataset("mnist", Path("given"))[0].startswith(f"unusable  {note}")
    assert [one for one in Path("given").rglob("*") if one.is_file()] == [path], "nothing unpacked"


def test_named_folder_of_no_use_has_its_reason(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(Path("data"), tiny)
    Path("empty").mkdir()
    Path("file").write_bytes(b"file")
    write_files(Path("half"), dict(list(tiny.items())[:2]))
    reasons = {
        "empty": "has no file of MNIST, nor have the folders in it (4 levels)",
        "nowhere": "there is no such folder",
        "~no-such-user/mnist": "there is no such folder",
        "file": "not a folder; name the folder",
        "half": f"has no {', '.join(list(FILE_SHAPES)[2:])}; put what is missing there",
    }
    for folder, reason in reasons.items():
        monkeypatch.setenv("MNIST_DATA_DIR", folder)
        lines: list[str] = []
        assert resolve_dataset("mnist", fetch=False, log=lines.append)[1] == Path("data")
        assert lines == [f"warning: {folder} ($MNIST_DATA_DIR): {reason}"]
        assert f"unusable  {folder} ($MNIST_DATA_DIR): {reason}" in inspect_dataset("mnist")


def test_only_the_missing_files_are_asked_for(tiny: dict[str, bytes]) -> None:
    write_files(Path("half"), dict(list(tiny.items())[:2]))
    message = refusal(lambda: resolve_dataset("mnist", Path("half"), fetch=False))
    assert "put t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz into half" in message
    assert "train-" not in message


def test_variable_may_name_the_folder_of_another_data_set(
    tiny: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is MNIST's, so a request for another data set is no mistake."""
    write_files(Path("mine"), tiny, suffix=".gz")
    lines: list[str] = []
    monkeypatch.setenv("MNIST_DATA_DIR", "mine")
    refusal(lambda: resolve_dataset("fashion-mnist", fetch=False, log=lines.append))
    assert not [line for line in lines if "mine" in line]
    options = {"data_dir": Path("mine"), "fetch": False, "log": lines.append}
    refusal(lambda: resolve_dataset("fashion-mnist", **options))
    assert [line for line in lines if "mine" in line] == [
        "warning: mine (--data-dir): has mnist, not Fashion-MNIST: choose it with --dataset"
    ]


def test_search_of_a_huge_folder_ends(tiny: dict[str, bytes]) -> None:
    folder = write_files(Path("given"), tiny)
    for name in tiny:
        (folder / name).rename(folder / f"zz-{name}")
    (folder / "loop").symlink_to(folder.absolute())
    for number in range(2_500):
        (folder / str(number)).touch()
    found = search_folder(SOURCES["mnist"], folder)
    assert len(found.other_files) == 2_000 and not found.paths
    for name in tiny:
        (folder / f"zz-{name}").rename(folder / name.upper())
    assert not search_folder(SOURCES["mnist"], folder).missing, "likely names come first"


def test_without_fetch_nothing_is_written_and_nothing_replaces_mnist(checkout: Path) -> None:
    message = refusal(lambda: resolve_dataset("auto", Path("new"), fetch=False))
    assert "MNIST is not in new, data, ../shared/mnist, and was not downloaded" in message
    assert list(checkout.iterdir()) == []
