"""Grid searches in volumes (micro-sam 1.x). Not supported; the names say what to use instead."""

from micro_sam.compat.evaluation import refuse_grid_search as default_grid_search_values_multi_dimensional_segmentation
from micro_sam.compat.evaluation import refuse_grid_search as run_multi_dimensional_segmentation_grid_search
from micro_sam.compat.evaluation import refuse_grid_search as segment_slices_from_ground_truth

__all__ = [
    "default_grid_search_values_multi_dimensional_segmentation",
    "run_multi_dimensional_segmentation_grid_search",
    "segment_slices_from_ground_truth",
]
