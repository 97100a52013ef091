"""A data set of ten images under MNIST's name, and servers on this machine that offer it."""

import gzip
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ablations.data.datasets import DataError
from ablations.data.sources import FILE_SHAPES, SOURCES

TEST_LABELS = "t10k-labels-idx1-ubyte"
WEB_PAGE = b"<!DOCTYPE html><title>Guest network: please log in</title>"
CLOSED_MIRROR = "http://127.0.0.1:9/"


def make_tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make `mnist` and `kmnist` one data set of six training and four test images.

    `mnist` is known by the SHA-256 of its files, `kmnist` by the MD5 of the gzipped files.
    Returns the content of the files.
    """
    random = np.random.default_rng(0)
    contents = {}
    for name, shape in FILE_SHAPES.items():
        tiny_shape = (6 if name.startswith("train") else 4, *shape[1:])
        monkeypatch.setitem(FILE_SHAPES, name, tiny_shape)
        header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *tiny_shape)
        contents[name] = header + random.integers(0, 10, tiny_shape, np.uint8).tobytes()
    sha256 = tuple(hashlib.sha256(content).hexdigest() for content in contents.values())
    md5 = tuple(hashlib.md5(body).hexdigest() for body in gzipped(contents).values())
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], sha256=sha256))
    monkeypatch.setitem(SOURCES, "kmnist", replace(SOURCES["kmnist"], gzip_md5=md5))
    return contents


def use_mirrors(monkeypatch: pytest.MonkeyPatch, *urls: str) -> None:
    """Make these the mirrors of every data set."""
    for name, source in SOURCES.items():
        monkeypatch.setitem(SOURCES, name, replace(source, mirrors=urls))


def gzipped(contents: dict[str, bytes]) -> dict[str, bytes]:
    """The files as servers have them."""
    return {f"{name}.gz": gzip.compress(body, mtime=0) for name, body in contents.items()}


def write_files(folder: Path, contents: dict[str, bytes], *, suffix: str = "") -> Path:
    """Write the files into a folder, plain or with the suffix `.gz`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (gzipped(contents) if suffix else contents).items():
        (folder / name).write_bytes(content)
    return folder


def refusal(call: Callable[[], object], error_class: type[Exception] = DataError) -> str:
    """The message of the error that a call raises: one line."""
    with pytest.raises(error_class) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


@dataclass(frozen=True)
class Fault:
    """What is wrong with a server's answers."""

    reason: str = ""
    """What the error says; empty if the download succeeds."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    change: Callable[[bytes], bytes] = bytes
    """Makes the body that is sent of the file."""
    sent_share: float = 1.0
    """Of the body; its `Content-Length` is that of the whole."""
    stalls: bool = False
    """Keeps the connection open after that."""


FAULTS = {
    "none": Fault(),
    "labelled as compressed": Fault(headers={"Content-Encoding": "x-gzip"}),
    "not found": Fault("404", 404),
    "redirected to no address": Fault("Invalid IPv6 URL", 302, {"Location": "http://["}),
    "login page": Fault("a web page, not a data file", change=lambda body: WEB_PAGE),
    "gzipped twice": Fault("not an idx file", change=gzip.compress),
    "cut off": Fault("IncompleteRead", sent_share=0.5),
    "silent": Fault("timed out", sent_share=0.5, stalls=True),
}


@dataclass
class Mirror:
    """A server on this machine."""

    files: dict[str, bytes]
    fault: str = "none"
    url: str = ""
    requests: list[str] = field(default_factory=list)
    """The files that were requested, in order."""
    has_stalled: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(files: dict[str, bytes], fault: str = "none") -> Iterator[Mirror]:
    """Serve files at a free port of this machine."""
    mirror = Mirror(files, fault)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            mirror.requests.append(name)
            fault = FAULTS[mirror.fault]
            body = fault.change(mirror.files.get(name, b""))
            # The client may have given up.
            with suppress(ConnectionError):
                self.send_response(fault.status)
                for header, value in fault.headers.items():
                    self.send_header(header, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: int(len(body) * fault.sent_share)])
                if fault.stalls:
                    mirror.has_stalled.set()
                    self.rfile.read(1)  # until the client closes the connection

        def log_message(self, *args: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        try:
            yield mirror
        finally:
            server.shutdown()
