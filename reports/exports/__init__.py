"""A study's results as files for other programs. Pure functions: the same records give the same bytes."""
