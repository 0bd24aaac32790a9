#!/usr/bin/env bash
# py-ctcmetrics 1.3.3: a tracker that finds nothing writes empty masks and an empty res_track.txt, which the layout of
# the Cell Tracking Challenge allows; its scores are 0. evaluate_sequence warns "No tracks in result" and then stops
# with a ValueError from numpy about a zero-size array, so one empty sequence ends the evaluation of a whole data set.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q py-ctcmetrics==1.3.3 2>/dev/null
cd "$work"
"$work/env/bin/python" - 2>/dev/null <<'PY'
import os

import numpy as np
import tifffile
from ctc_metrics.scripts.evaluate import evaluate_sequence

for folder, table, prefix, label in (("01_RES", "res_track.txt", "mask", 0), ("01_GT/TRA", "man_track.txt", "man_track", 1)):
    os.makedirs(folder)
    for t in range(3):
        mask = np.zeros((16, 16), "uint16")
        mask[4:8, 4:8] = label
        tifffile.imwrite(f"{folder}/{prefix}{t:03d}.tif", mask)
    with open(f"{folder}/{table}", "w") as file:
        file.write("1 0 2 0\n" if label else "")
try:
    outcome = evaluate_sequence("01_RES", "01_GT", ["DET", "TRA"])
except ValueError as error:
    outcome = error
print("scores of a result without objects:", repr(outcome))
assert isinstance(outcome, ValueError) and "zero-size array" in str(outcome), "the behaviour has changed"
PY
