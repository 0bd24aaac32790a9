"""The module of micro-sam 1.x in which the annotators of series lay. A front door; the code is in ``series``."""

from micro_sam.sam_annotator.controller.series import image_folder_annotator, image_series_annotator

__all__ = ["image_folder_annotator", "image_series_annotator"]
