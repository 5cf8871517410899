"""magiqa: a benchmarking harness for training-free, CLIP-based no-reference image quality assessment."""

__version__ = "0.1.0"
