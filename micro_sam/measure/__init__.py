"""Tables of objects and tracks."""

from micro_sam.io.tables import save_table
from micro_sam.measure.objects import measure_objects, object_columns
from micro_sam.measure.tracks import measure_tracks

__all__ = ["measure_objects", "measure_tracks", "object_columns", "save_table"]
