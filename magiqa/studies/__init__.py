"""What is asked: evaluate, ablate, compare, reconcile, experiments, pack, verify."""
