"""Questions, a file each: evaluate, ablate, compare, reconcile, experiments, pack, verify."""
