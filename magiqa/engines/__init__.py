"""An image tower in, a fast callable out, checked against plain float32 torch."""
