"""The report page, its cards and the networks that run in it."""
