"""Typed overrides in, checked objects out. The only room that knows Hydra."""
