"""Objects of a slice from their prompts: points, boxes, masks."""
