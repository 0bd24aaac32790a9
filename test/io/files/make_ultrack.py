"""Makes ultrack.csv and ultrack.xml with ultrack 0.8.0, which needs another pydantic than the tests' other readers."""

from pathlib import Path

import pandas as pd
from ultrack.core.export import tracks_layer_to_trackmate

rows = [
    (1, 0, 0.0, 5.5, 5.5, 1001, -1, -1),
    (1, 1, 0.0, 5.5, 5.5, 1002, -1, 1001),
    (2, 2, 0.0, 5.5, 5.5, 1003, 1, 1002),
    (2, 3, 0.0, 5.5, 5.5, 1004, 1, 1003),
    (3, 2, 0.0, 14.5, 14.5, 1005, 1, 1002),
    (3, 3, 0.0, 14.5, 14.5, 1006, 1, 1005),
]
table = pd.DataFrame(rows, columns=["track_id", "t", "z", "y", "x", "id", "parent_track_id", "parent_id"])
table.to_csv("ultrack.csv", index=False)
Path("ultrack.xml").write_text(tracks_layer_to_trackmate(table))
