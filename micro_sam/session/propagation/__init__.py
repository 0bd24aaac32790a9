"""How a session uses propagation: from the prompted slices of a volume, or frames of a movie, to all others."""
