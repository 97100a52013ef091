"""Which version of the source this is: its number, its commit, its digest."""

import functools
import hashlib
import subprocess
from pathlib import Path

VERSION = "0.1.0"
"""Recorded with every run. It stands here so that it goes wherever the source goes."""

PROJECT_DIR = Path(__file__).resolve().parent.parent
SOURCE_PACKAGES = ("ablations", "mnist_blocks", "speed")
"""What decides a result."""


@functools.cache
def source_commit() -> str:
    """The git commit of this source, marked when the working tree differs from it."""

    def git(*arguments: str) -> str:
        finished = subprocess.run(
            ["git", *arguments],
            cwd=PROJECT_DIR,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        )
        return finished.stdout.strip()

    try:
        # Installed into somebody else's repository, this source is not what its commits say.
        git("ls-files", "--error-unmatch", __file__)
        # Only the source counts: a changed document or a new record changes no result.
        changes = git("status", "--porcelain", "--", *SOURCE_PACKAGES)
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@functools.cache
def source_digest() -> str:
    """One word for all source that decides a result, as it is on the disk when this is first asked."""
    digest = hashlib.sha256()
    for package in SOURCE_PACKAGES:
        for path in sorted((PROJECT_DIR / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()
