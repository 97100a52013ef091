"""How many runs are carried out: processes, a Ray cluster, epoch timing, progress, signals."""
