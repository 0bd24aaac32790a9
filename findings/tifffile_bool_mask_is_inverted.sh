#!/usr/bin/env bash
# tifffile 2026.3.3 writes a bool array as a bilevel tif in which zero is white (PhotometricInterpretation 0), and its
# own reader does not look at that tag: the mask that goes out comes back, and a round trip shows nothing. A program
# that follows the tag (Pillow 13.0 here; the specification, TIFF 6.0, means it so) shows the opposite: True is black.
# No warning; the default for every other type is that zero is black. One would expect True to be white. With
# photometric="minisblack" all agree.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6 2>/dev/null
cd "$work"
"$work/env/bin/python" - <<'PY'
import numpy as np
import tifffile
from PIL import Image

mask = np.zeros((20, 30), bool)
mask[5:9, 5:15] = True


def pixels_that_are_set(**options):
    tifffile.imwrite("mask.tif", mask, **options)
    with tifffile.TiffFile("mask.tif") as file:
        kind = file.pages[0].photometric.name
    return kind, int(tifffile.imread("mask.tif").sum()), int(np.asarray(Image.open("mask.tif")).sum())


default, stated = pixels_that_are_set(), pixels_that_are_set(photometric="minisblack")
print(f"the mask has {mask.sum()} of {mask.size} pixels set")
print(f"imwrite(mask): {default[0]}, tifffile reads {default[1]} set, Pillow {default[2]}")
print(f'with photometric="minisblack": {stated[0]}, tifffile reads {stated[1]} set, Pillow {stated[2]}')
assert default == ("MINISWHITE", 40, 560) and stated == ("MINISBLACK", 40, 40), "the behaviour has changed"
PY
