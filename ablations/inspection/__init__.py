"""Measurements on trained networks for the report: gradients, activations, errors."""
