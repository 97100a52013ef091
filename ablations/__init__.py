"""Experiments on networks: which, on what data, trained how, recorded where, and what they mean.

Data flows one way through this package, and its files are best read in that order:
`catalogue.py`, `experiment.py`, `data.py`, `augment.py`, `training.py`, `records.py`,
`study.py`, `execution.py`, `timing.py`, `statistics.py`, `results.py`. What `cli.py ablate` does
with them, step by step, is `conduct.py`.
"""
