"""Features and methods in, scores of images out."""
