"""CLIP weights in, an image tower and text embeddings out. The only room that knows open_clip."""
