"""What `cli.py ablate` does, from the request to the last report. Start with `run_study.py`."""
