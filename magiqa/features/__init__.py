"""Images in, cached features out; or a bundle in their place."""
