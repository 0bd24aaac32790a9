"""Images to try the tools on: some in the installation, some generated, some behind a hash-checked download."""

from micro_sam.sample_data.catalogue import open_sample, sample_names
from micro_sam.sample_data.published import (
    fetch_3d_example_data,
    fetch_hela_2d_example_data,
    fetch_image_series_example_data,
    fetch_livecell_example_data,
    fetch_nucleus_3d_example_data,
    fetch_tracking_example_data,
    fetch_tracking_segmentation_data,
    fetch_wholeslide_example_data,
    fetch_wholeslide_histopathology_example_data,
    sample_data_3d,
    sample_data_hela_2d,
    sample_data_image_series,
    sample_data_livecell,
    sample_data_segmentation,
    sample_data_tracking,
    sample_data_wholeslide,
    synthetic_data,
)
from micro_sam.sample_data.sample import Sample

__all__ = [
    "Sample",
    "fetch_3d_example_data",
    "fetch_hela_2d_example_data",
    "fetch_image_series_example_data",
    "fetch_livecell_example_data",
    "fetch_nucleus_3d_example_data",
    "fetch_tracking_example_data",
    "fetch_tracking_segmentation_data",
    "fetch_wholeslide_example_data",
    "fetch_wholeslide_histopathology_example_data",
    "open_sample",
    "sample_data_3d",
    "sample_data_hela_2d",
    "sample_data_image_series",
    "sample_data_livecell",
    "sample_data_segmentation",
    "sample_data_tracking",
    "sample_data_wholeslide",
    "sample_names",
    "synthetic_data",
]
