"""The report page, and the trained networks that run in it."""
