"""The public API: any image in, its score, cues and map out."""
