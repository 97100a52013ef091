"""Ablation experiments: which runs, on what data, trained how, recorded where, and what they mean.

Each package imports only those above it in this list, which is also the best order to read them:

- `catalogue`: what can be run (`entries.py`) and by which recipe (`experiment.py`)
- `data`: find, verify and download data sets
- `training`: train one network (`loop.py`)
- `records`: what a study stores (`run.py`, `study.py`)
- `inspection`: measurements on trained networks, for the report
- `runner`: schedule runs on processes or a Ray cluster (`scheduler.py`)
- `analysis`: statistics and verdicts, as pure functions of records
- `commands`: `cli.py ablate`, step by step (`run_study.py`)
- `grader`: `cli.py check`
"""
