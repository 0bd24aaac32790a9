#!/usr/bin/env bash
# imaris-ims-file-reader 0.1.8, the reader of Imaris files (ims) on PyPI, says "slice a like a numpy array". Two kinds of
# valid slices along z, y and x give something else, without an error: a step gives one voxel (whatever the start), and a
# stop that counts from the end gives one, too. A whole number that counts from the end gives an empty array. Slices from
# 0 on with positive ends are right. Who looks at every 4th pixel of a large image gets one grey value.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q imaris-ims-file-reader==0.1.8 h5py==3.15.1 numpy==2.3.5 zarr==3.1.5 scikit-image==0.26.0 2>/dev/null
cd "$work"
"$work/env/bin/python" -W ignore - <<'PY'
import contextlib
import io

import h5py
import numpy as np

volume = np.arange(8 * 32 * 48, dtype="uint16").reshape(8, 32, 48)


def text(value):
    """Imaris writes attributes as arrays of single letters."""
    return np.array([letter.encode() for letter in str(value)], "S1")


with h5py.File("volume.ims", "w") as file:
    about = file.create_group("DataSetInfo/Image")
    for k, (letter, size) in enumerate(zip("XYZ", volume.shape[::-1])):
        about.attrs[letter] = text(size)
        about.attrs[f"ExtMin{k}"], about.attrs[f"ExtMax{k}"] = text(0), text(size)
    about.attrs["Unit"] = text("um")
    file.create_group("DataSetInfo/TimeInfo")
    channel = file.create_group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")
    for letter, size in zip("ZYX", volume.shape):
        channel.attrs[f"ImageSize{letter}"] = text(size)
    channel.create_dataset("Data", data=volume, chunks=(8, 16, 16))

from imaris_ims_file_reader.ims import ims

with contextlib.redirect_stdout(io.StringIO()):
    image = ims("volume.ims", squeeze_output=False)
slices = {
    "[0, 0, 2:5, 4:20, 8:40]": np.s_[2:5, 4:20, 8:40],
    "[0, 0, :, ::4, ::4]": np.s_[:, ::4, ::4],
    "[0, 0, :, :-4, :-8]": np.s_[:, :-4, :-8],
    "[0, 0, -1]": np.s_[-1:, :, :],
}
found = {}
for name, inside in slices.items():
    asked = (0, 0, -1) if name == "[0, 0, -1]" else (0, 0, *inside)
    read = np.asarray(image[asked])
    found[name] = read.shape[2:]
    print(f"image{name}: numpy has {volume[inside].shape} voxels (z, y, x), the reader {read.shape[2:]}")
assert list(found.values()) == [(3, 16, 32), (8, 1, 1), (8, 1, 1), (0, 32, 48)], "the behaviour has changed"
PY
