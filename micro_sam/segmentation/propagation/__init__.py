"""Objects followed from slice to slice and from frame to frame."""
