"""Compiled kernels that train a network faster on a CPU."""
