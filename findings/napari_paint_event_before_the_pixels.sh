#!/usr/bin/env bash
# napari 0.9.2: events.paint of a Labels layer reports an edit. For layer.paint(), layer.fill() and data_setitem() of
# scripts and plugins it comes *before* the pixels are written, so a listener that looks at layer.data sees the picture
# of before and misses the edit (after a mouse stroke it sees the edit). undo() changes pixels and sends no paint event.
# And after layer.data is replaced by another array, undo() writes the strokes of the old one into the new one.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q napari==0.9.2 2>/dev/null
"$work/env/bin/python" - <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from napari.layers import Labels

layer = Labels(np.zeros((20, 20), "uint8"))
seen = []
layer.events.paint.connect(lambda event: seen.append(int((layer.data > 0).sum())))
layer.paint((5, 5), 3)
after_paint = int((layer.data > 0).sum())
layer.fill((15, 15), 2)
after_fill = int((layer.data > 0).sum())
print(f"labelled pixels after paint: {after_paint}, seen by its event: {seen[0]}")
print(f"labelled pixels after fill: {after_fill}, seen by its event: {seen[1]}")
layer.undo()
print(f"undo: {int((layer.data > 0).sum())} labelled pixels, {len(seen) - 2} events")
assert seen == [0, after_paint] and 0 < after_paint < after_fill, "the behaviour has changed"
layer.data = np.full((20, 20), 7, "uint8")
layer.undo()
values = np.unique(layer.data).tolist()
print("a new array full of 7, then undo: the array holds", values)
assert values != [7], "the behaviour has changed"
PY
