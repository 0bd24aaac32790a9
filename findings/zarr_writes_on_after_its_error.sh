#!/usr/bin/env bash
# zarr 3.1.6: when one chunk of an assignment cannot be written, the error is raised at once, but the chunks beside it go
# on being encoded and written in the background, for as long as that takes. A folder that is removed when the error is
# caught comes back a moment later with some chunks in it; who writes the array again meets late chunks of the failed one.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q zarr==3.1.6 2>/dev/null
cd "$work"
"$work/env/bin/python" - <<'PY'
import asyncio
import errno
import os
import shutil
import time

import numpy as np
import zarr
from zarr.storage import LocalStore


class FullDisc(LocalStore):
    """The first chunk finds the disc full; the others take a while, as large ones do."""

    async def set(self, key, value):
        if key == "c/0/0":
            raise OSError(errno.ENOSPC, "No space left on device")
        if key.startswith("c/"):
            await asyncio.sleep(0.5)
        await super().set(key, value)


def chunks():
    return sum(len(names) for folder, _, names in os.walk("labels.zarr") if f"{os.sep}c" in folder)


array = zarr.create_array(FullDisc("labels.zarr"), shape=(64, 64), chunks=(16, 16), dtype="uint16")
try:
    array[:] = np.ones((64, 64), "uint16")
except OSError as error:
    print("raised:", error)
shutil.rmtree("labels.zarr")
print("after the error the folder is removed; there:", os.path.exists("labels.zarr"))
time.sleep(3)
print("three seconds later there:", os.path.exists("labels.zarr"), "with", chunks(), "of 16 chunks")
assert chunks() == 15, "the behaviour has changed"
PY
