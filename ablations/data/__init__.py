"""Data sets of 28x28 grey images in ten classes: found, verified, downloaded, read."""
