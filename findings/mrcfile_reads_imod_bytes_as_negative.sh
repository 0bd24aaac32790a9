#!/usr/bin/env bash
# mrcfile 1.5.4: IMOD, the most used program of electron tomography, has written 8-bit files of mode 0 whose bytes are
# *unsigned* and says so in the header (imodStamp 1146047817 at byte 152, bit 0 of imodFlags at byte 156 not set).
# mrcfile calls such a file valid and returns int8: grey values from 128 on become negative, bright becomes dark. The
# two header fields lie in extra1 and are read by nobody. MRC2014 says that mode 0 is signed, which is why both exist.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q mrcfile==1.5.4 numpy==2.3.5 2>/dev/null
cd "$work"
"$work/env/bin/python" - <<'PY'
import struct

import mrcfile
import numpy as np

grey = np.array([[0, 100], [200, 255]], "uint8")
with mrcfile.new("slice.mrc") as file:
    file.set_data(grey.view("int8"))
with open("slice.mrc", "r+b") as file:
    file.seek(152)
    file.write(struct.pack("<ii", 1146047817, 0))  # written by IMOD, bytes are unsigned
with mrcfile.open("slice.mrc") as file:
    read = file.data.copy()
print("grey values in the file:", grey.ravel().tolist(), " valid:", mrcfile.validate("slice.mrc"))
print("as mrcfile reads them:  ", read.ravel().tolist(), read.dtype)
assert read.dtype == np.int8 and read.ravel().tolist() == [0, 100, -56, -1], "the behaviour has changed"
PY
