"""Files to pixels to views, and what needs no network: controls and distortions."""
