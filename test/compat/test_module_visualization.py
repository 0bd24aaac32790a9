"""``micro_sam.visualization`` with the calls of micro-sam 1.8."""

import numpy as np

from micro_sam import visualization


def test_embeddings_are_projected_onto_colours(embeddings):
    features = np.asarray(embeddings["features"])
    colours = visualization.compute_pca(features, n_components=3, as_rgb=True)
    assert colours.shape == (*features.shape[-2:], 3) and colours.dtype == "uint8"
    image, scale = visualization.project_embeddings_for_visualization(embeddings, n_components=3, as_rgb=True)
    assert image.ndim == 3 and image.shape[-1] == 3 and len(scale) == 2
    components, same = visualization.project_embeddings_for_visualization(embeddings, as_rgb=False)
    assert components.dtype == "float32" and components.shape == image.shape and same == scale
