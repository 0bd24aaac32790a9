"""Background threads, timers, memory and garbage: what knows nothing of images."""
