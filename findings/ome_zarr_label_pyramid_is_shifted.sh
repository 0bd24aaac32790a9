#!/usr/bin/env bash
# ome-zarr 0.18.0: write_labels makes a pyramid whose metadata say that a coarse pixel lies in the middle of the fine
# ones it stands for (translation 0.5, 1.5, 3.5, ...), but the value is taken from the fine pixel at 1, 3, 7, ... .
# A viewer that believes the metadata shows labels of level 1, 2, 3 moved by 0.5, 1.5, 3.5 pixels of the full image
# against the image of the same level, whose pyramid (write_image) lies where its metadata say.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q ome-zarr==0.18.0 zarr==3.1.6 2>/dev/null
cd "$work"
"$work/env/bin/python" - <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
import zarr
from ome_zarr.io import parse_url
from ome_zarr.writer import write_image, write_labels

row_number = np.repeat(np.arange(256, dtype="uint32")[:, None], 256, axis=1)
root = zarr.group(store=parse_url("sample.zarr", mode="w").store)
write_image(row_number.astype("float32"), group=root, axes="yx")
write_labels(row_number + 1, group=root, name="rows", axes="yx")  # the label of a pixel is its row + 1


def shifts(path, offset):
    group = zarr.open_group(path, mode="r")
    levels = group.attrs["ome"]["multiscales"][0]["datasets"][1:4]
    found = []
    for level in levels:
        values = group[level["path"]][:, 3].astype(float) - offset
        scale, translation = level["coordinateTransformations"]
        said = np.arange(len(values)) * scale["scale"][0] + translation["translation"][0]
        found.append(float(np.median(said - values)))
    return found


image, labels = shifts("sample.zarr", 0), shifts("sample.zarr/labels/rows", 1)
print("rows that the metadata name, minus rows that the values come from, at levels 1, 2, 3")
print("image: ", [round(value, 2) for value in image])
print("labels:", [round(value, 2) for value in labels])
assert np.allclose(image, 0, atol=0.01) and labels == [-0.5, -1.5, -3.5], "the behaviour has changed"
PY
