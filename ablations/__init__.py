"""Experiments on networks: which, on what data, trained how, recorded where, and what they mean.

Data flows one way through this package, and its files are best read in that order:
`catalogue/entries.py`, `catalogue/experiment.py`, `data/datasets.py`, `training/augmentation.py`, `training/loop.py`, `records/run.py`,
`records/study.py`, `runner/scheduler.py`, `runner/epoch_timing.py`, `analysis/statistics.py`, `analysis/summary.py`. What `cli.py ablate` does
with them, step by step, is `commands/run_study.py`.
"""
