"""Data set readers: one file a set, each a config object with ``load() -> Labels``."""
