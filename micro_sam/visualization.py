"""Image embeddings as pictures. (Implemented in :mod:`micro_sam.embeddings.pictures`.)"""

from micro_sam.embeddings.pictures import compute_pca, project_embeddings_for_visualization

__all__ = ["compute_pca", "project_embeddings_for_visualization"]
