"""Model and embeddings, made ready in the background: what the settings say, and first where the user looks."""
