"""The files of a study: run records, predictions, weights, observations, spec and epoch times."""
