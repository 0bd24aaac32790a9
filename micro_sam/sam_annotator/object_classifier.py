"""The window for classes of objects (micro-sam 1.x). Not supported; the names say what to use instead."""

from micro_sam.object_classification import refuse as ObjectClassifier
from micro_sam.object_classification import refuse as image_series_object_classifier
from micro_sam.object_classification import refuse as object_classifier

__all__ = ["ObjectClassifier", "image_series_object_classifier", "object_classifier"]
