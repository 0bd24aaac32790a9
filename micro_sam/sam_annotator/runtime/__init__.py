"""Background threads, memory and garbage: what knows nothing of images."""
