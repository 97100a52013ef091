"""Which precision and which kernels compute a network on this machine (option `--arithmetic`)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor, nn

Arithmetic = Literal["plain", "float32", "bfloat16"]
"""`plain`: PyTorch's layers, one after another, in float32.
`float32`: the fused kernels of `cpu/`, equal to `plain` up to rounding (CPU only).
`bfloat16`: the same kernels, with activations kept in 16 bits while training (CPU only)."""

ARITHMETICS: tuple[Arithmetic, ...] = get_args(Arithmetic)


def choose_arithmetic(name: str, device_type: str) -> Arithmetic:
    """The arithmetic with this name; `auto` is the fastest on this machine.

    `docs/performance.md` compares their accuracy.

    Raises:
        ValueError: the name is unknown, or the device does not support it.
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
    """Whether the processor has instructions for bfloat16; emulation is slower than float32."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return bool(features.get("avx512bf16"))


def accelerate(network: "nn.Module", arithmetic: Arithmetic) -> Callable[["Tensor"], "Tensor"]:
    """A function that computes the network: itself, or fused kernels that train the same weights.

    Raises:
        TypeError: the network is not a sequence of layers, and the arithmetic is not `plain`.
    """
    if arithmetic == "plain":
        return network
    import torch

    if not isinstance(network, torch.nn.Sequential):
        raise TypeError(f"a {type(network).__name__} can only be computed with plain arithmetic")

    from speed.cpu.fused import fuse

    return fuse(network, torch.bfloat16 if arithmetic == "bfloat16" else torch.float32)


def keep_freed_memory() -> None:
    """Make glibc keep large freed blocks for the next training step.

    By default it returns blocks of megabytes to the system, which zeroes every page that it hands
    out again.
    """
    import ctypes
    import platform

    if platform.libc_ver()[0] != "glibc":
        return
    # The names of the parameters are in malloc.h: M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    trim_threshold, mmap_threshold = -1, -3
    libc = ctypes.CDLL(None)
    # Versions differ in the largest threshold that they accept; mallopt returns 1 on success.
    if any(libc.mallopt(mmap_threshold, most) == 1 for most in (1 << 30, 1 << 25)):
        libc.mallopt(trim_threshold, (1 << 31) - 1)
