"""A data set of ten images under MNIST's name, and servers on this machine that have it, or not."""

import gzip
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets

from ablations.data.datasets import DataError
from ablations.data.sources import FILE_SHAPES, KMNIST, MNIST, SOURCES

TEST_LABELS = "t10k-labels-idx1-ubyte"
WEB_PAGE = b"<!DOCTYPE html><title>Guest network: please log in</title>"


def isolate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, no folder in the environment, and no mirror that answers."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MNIST_DATA_DIR", raising=False)
    for source in SOURCES.values():
        dataset_class = getattr(torchvision.datasets, source.torchvision_class)
        monkeypatch.setattr(dataset_class, "mirrors", [f"http://127.0.0.1:{closed_port()}/"])
    return folder


def make_tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `mnist` and `kmnist` one data set of six training and four test images.

    MNIST's files are known by their SHA-256, KMNIST's by the MD5 of the gzipped files. Returns the
    content of the files.
    """
    random = np.random.default_rng(0)
    contents = {}
    for name, shape in FILE_SHAPES.items():
        tiny_shape = (6 if name.startswith("train") else 4, *shape[1:])
        monkeypatch.setitem(FILE_SHAPES, name, tiny_shape)
        contents[name] = idx_file(random.integers(0, 10, tiny_shape, np.uint8))
    sha256 = tuple(hashlib.sha256(content).hexdigest() for content in contents.values())
    md5 = tuple(hashlib.md5(body).hexdigest() for body in gzipped(contents).values())
    monkeypatch.setitem(SOURCES, "mnist", replace(MNIST, sha256=sha256))
    monkeypatch.setitem(SOURCES, "kmnist", replace(KMNIST, gzip_md5=md5))
    return contents


def idx_file(values: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return header + values.tobytes()


def gzipped(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files as servers have them."""
    return {f"{name}.gz": gzip.compress(body, mtime=0) for name, body in contents.items()}


def write_files(folder: Path, contents: dict[str, bytes], *, suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (gzipped(contents) if suffix else contents).items():
        (folder / name).write_bytes(content)
    return folder


def refusal(call: Callable[[], object]) -> str:
    """The message of the DataError that a call raises: one line."""
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Mirror:
    """A server on this machine, and what is wrong with its answers (see `answer`)."""

    url: str
    files: dict[str, bytes]
    fault: str = ""
    silent_seconds: float = 0.0
    """Before each piece of an answer."""
    num_pieces: int = 1
    requests: list[str] = field(default_factory=list)
    """The files that were asked for, in order."""
    sent_bytes: int = 0


BODY_FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "login page": lambda body: WEB_PAGE,
    "half a file, announced as one": lambda body: body[: len(body) // 2],
    "one bit flipped": lambda body: body[:-6] + bytes([body[-6] ^ 4]) + body[-5:],
    "not gzipped": gzip.decompress,
    "empty file": lambda body: b"",
    "gzipped login page": lambda body: gzip.compress(WEB_PAGE),
    "wrong magic number": lambda body: repacked(body, lambda content: b"\1" + content[1:]),
    "wrong count": lambda body: repacked(body, lambda content: content[:7] + b"\x05" + content[8:]),
    "other values": lambda body: repacked(
        body, lambda content: content[:-1] + bytes([content[-1] ^ 1])
    ),
    "content cut off": lambda body: repacked(body, lambda content: content[:-1]),
    "gzip bomb": lambda body: repacked(body, lambda content: content + bytes(100_000_000)),
}
STATUS_FAULTS = {
    "403": 403,
    "404": 404,
    "429": 429,
    "503": 503,
    "redirected in a circle": 302,
    "redirected to no address": 302,
    "redirected to a file": 302,
}
CONNECTION_FAULTS = (
    "half a file",
    "hangs up at once",
    "resets the connection half-way",
    "answers no HTTP",
    "falls silent",
    "falls silent half-way",
    "sends without end",
    "half a file, no length announced",
)
MIRROR_FAULTS = (*STATUS_FAULTS, *BODY_FAULTS, *CONNECTION_FAULTS)
LOCATIONS = {
    "redirected in a circle": "/{name}",
    "redirected to no address": "http://[",
    "redirected to a file": "file:///dev/zero",
}


def repacked(body: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return gzip.compress(change(gzip.decompress(body)), compresslevel=1)


@contextmanager
def serving(files: dict[str, bytes], fault: str = "") -> Iterator[Mirror]:
    """Serve files at a port of this machine, with a fault or without."""
    mirror = Mirror(url="", files=files, fault=fault)
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            mirror.requests.append(name)
            # Whoever asked may have lost patience.
            with suppress(ConnectionError):
                answer(self, mirror, name, is_over)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield mirror
        finally:
            is_over.set()
            server.shutdown()


def answer(
    request: BaseHTTPRequestHandler, mirror: Mirror, name: str, is_over: threading.Event
) -> None:
    """Send a file, or what the mirror's fault makes of it."""
    fault = mirror.fault
    time.sleep(mirror.silent_seconds)
    if fault == "hangs up at once":
        return
    if fault == "falls silent":
        is_over.wait()
        return
    if fault == "answers no HTTP":
        request.wfile.write(b"220 mail.example.org ready\r\n\r\n")
        return
    body = BODY_FAULTS.get(fault, bytes)(mirror.files[name])
    request.send_response(STATUS_FAULTS.get(fault, 200))
    if fault in LOCATIONS:
        request.send_header("Location", LOCATIONS[fault].format(name=name))
    if fault not in ("sends without end", "half a file, no length announced"):
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    if fault == "sends without end":
        while not is_over.is_set():
            mirror.sent_bytes += request.wfile.write(bytes(10_000))
    if fault in CONNECTION_FAULTS:
        body = body[: len(body) // 2]
    for piece in np.array_split(np.frombuffer(body, np.uint8), mirror.num_pieces):
        time.sleep(mirror.silent_seconds)
        mirror.sent_bytes += request.wfile.write(piece.tobytes())
    if fault == "resets the connection half-way":
        linger_not = struct.pack("ii", 1, 0)
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        request.connection.close()
    elif fault == "falls silent half-way":
        is_over.wait()
