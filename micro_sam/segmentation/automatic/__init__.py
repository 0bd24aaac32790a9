"""All objects of a slice: from the dense maps of a model, or from a grid of clicks."""
