"""What a study leaves on the disk: run records, predictions, weights, and the study's own files."""
