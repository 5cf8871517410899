"""Scores and labels in, numbers out: correlations, intervals, tests, fits. Pure."""
