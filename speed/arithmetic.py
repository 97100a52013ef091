"""Which way of computing a network this machine should use."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor, nn

Arithmetic = Literal["plain", "float32", "bfloat16"]
"""`plain`: PyTorch's layers, one after another, in float32.
`float32`: the same numbers to rounding, by the loops of `cpu/fused.py` (CPU only).
`bfloat16`: the same loops, and activations are kept in 16 bits while training (CPU only)."""

ARITHMETICS: tuple[Arithmetic, ...] = get_args(Arithmetic)


def choose_arithmetic(name: str, device_type: str) -> Arithmetic:
    """The arithmetic of that name; `auto` is the fastest that this machine has.
    docs/performance.md compares their accuracy.

    Raises:
        ValueError: the name is unknown, or its arithmetic is not for this device.
    """
    if name == "auto":
        if device_type != "cpu":
            return "plain"
        return "bfloat16" if has_bfloat16_instructions() else "float32"
    for arithmetic in ARITHMETICS:
        if arithmetic == name:
            if device_type != "cpu" and arithmetic != "plain":
                raise ValueError(f"arithmetic {name!r} is for a CPU, not for {device_type}")
            return arithmetic
    raise ValueError(f"unknown arithmetic {name!r}; there are auto, {', '.join(ARITHMETICS)}")


def has_bfloat16_instructions() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it is emulated, it is slower."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return bool(features.get("avx512bf16"))


def accelerate(network: "nn.Module", arithmetic: Arithmetic) -> Callable[["Tensor"], "Tensor"]:
    """What computes the network: itself, or something quicker that trains the same weights.

    Raises:
        TypeError: only a sequence of layers can be computed by anything but itself.
    """
    if arithmetic == "plain":
        return network
    import torch

    if not isinstance(network, torch.nn.Sequential):
        raise TypeError(f"a {type(network).__name__} can only be computed with plain arithmetic")

    from speed.cpu.fused import fuse

    return fuse(network, torch.bfloat16 if arithmetic == "bfloat16" else torch.float32)


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that are freed, for the next step, where it can.

    glibc gives blocks of megabytes back to the system at once, and the system hands out zeroed
    pages: each training step would touch every page of its activations anew.
    """
    import ctypes
    import platform

    if platform.libc_ver()[0] != "glibc":
        return
    # The names of the parameters are in malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    trim_threshold, mmap_threshold = -1, -3
    libc = ctypes.CDLL(None)
    # Versions differ in the largest threshold that they take; 1 says that it was taken.
    if any(libc.mallopt(mmap_threshold, most) == 1 for most in (1 << 30, 1 << 25)):
        libc.mallopt(trim_threshold, (1 << 31) - 1)
