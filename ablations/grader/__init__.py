"""`cli.py check`: a network of your own, graded against the assignment."""
