#!/usr/bin/env bash
# imageio 2.38.1 with pillow 13.0.0: a colour PNG of 16 bits per channel (a composite exported by a microscope program)
# is read as 8 bits, without a word: the low byte of every value is gone. A grey PNG of 16 bits keeps its values. The
# same file opened through imageio's other PNG backends is not an option where only pillow is installed.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q imageio==2.38.1 pillow==13.0.0 numpy==2.3.5 2>/dev/null
cd "$work"
"$work/env/bin/python" - <<'PY'
import struct
import zlib

import imageio.v3 as imageio
import numpy as np


def write_png(path, pixels):
    """The plainest PNG there is: one unfiltered IDAT; colour type 2 (RGB) or 0 (grey), 16 bits per channel."""
    height, width = pixels.shape[:2]

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + body)


colour = np.arange(0, 60000, 60000 // 768, dtype="uint16")[:768].reshape(16, 16, 3)
write_png("colour.png", colour)
write_png("grey.png", colour[..., 0])
grey, read = imageio.imread("grey.png"), imageio.imread("colour.png")
print("grey:  ", grey.dtype, "same values:", bool((grey == colour[..., 0]).all()))
print("colour:", read.dtype, "different values:", len(np.unique(colour)), "in the file,", len(np.unique(read)), "read")
assert (grey == colour[..., 0]).all() and read.dtype == np.uint8 and (read == colour >> 8).all(), "it has changed"
PY
