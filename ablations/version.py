"""Which version of this project runs."""

from importlib.metadata import PackageNotFoundError, version


def project_version() -> str:
    """This project's version, or `unknown` when it runs without having been installed."""
    try:
        return version("mnist-ablations")
    except PackageNotFoundError:
        return "unknown"
