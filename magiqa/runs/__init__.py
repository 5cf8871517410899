"""A run's config, folder, record and names."""
