#!/usr/bin/env bash
# HDF5 files of BigDataViewer and BigStitcher, as pybdv 0.6.0 and npy2bdv 1.1.0 write them too, declare their unsigned
# 16-bit grey values as signed ones (int16), because Java has no others. Nothing in the file says so. Whoever reads them
# with h5py 3.16.0 and believes the type gets negative numbers for all grey values above 32767: the brightest pixels of
# a camera become the darkest. One would expect uint16, which HDF5 has. The bits are right: view them as uint16.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q pybdv==0.6.0 npy2bdv==1.1.0 h5py==3.16.0 numpy==2.4.6 2>/dev/null
cd "$work"
"$work/env/bin/python" - 2>/dev/null <<'PY'
import h5py
import npy2bdv
import numpy as np
from pybdv import make_bdv

volume = np.linspace(0, 60_000, 4 * 20 * 30).reshape(4, 20, 30).astype("uint16")
make_bdv(volume, "pybdv.h5")
writer = npy2bdv.BdvWriter("npy2bdv.h5")
writer.append_view(volume, time=0, channel=0)
writer.write_xml()
writer.close()
for name in ("pybdv.h5", "npy2bdv.h5"):
    with h5py.File(name) as file:
        cells = file["t00000/s00/0/cells"][()]
        print(f"{name}: written {volume.dtype} from {volume.min()} to {volume.max()}, read {cells.dtype} from", end=" ")
        print(f"{cells.min()} to {cells.max()}; as uint16 the same: {np.array_equal(cells.view('uint16'), volume)}")
    assert cells.dtype == "int16" and cells.min() < 0 and np.array_equal(cells.view("uint16"), volume)
PY
