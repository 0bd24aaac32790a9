#!/usr/bin/env bash
# zarr 3.1.6: many OME-Zarr files carry consolidated metadata. A label group that is added to such a file is on disc
# and can be opened by its own path, but is in no listing: neither in the handle that created it nor after opening the
# file anew, and `"labels" in group` is False. No error, no warning; attributes that are written do appear. A program
# that adds labels/NAME to somebody's OME-Zarr must consolidate again, or nobody finds them.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q zarr==3.1.6 2>/dev/null
cd "$work"
"$work/env/bin/python" - <<'PY'
import warnings

warnings.simplefilter("ignore")
import zarr

for zarr_format in (2, 3):
    path = f"image_{zarr_format}.zarr"
    zarr.open_group(path, mode="w", zarr_format=zarr_format).create_array("0", shape=(4, 4), dtype="uint8")
    zarr.consolidate_metadata(path)
    group = zarr.open_group(path, mode="a")
    group.require_group("labels").create_array("cells", shape=(4, 4), dtype="uint16")[:] = 7
    again = zarr.open_group(path, mode="r")
    value = int(zarr.open_array(f"{path}/labels/cells", mode="r")[0, 0])
    print(f"zarr format {zarr_format}: the writer lists {sorted(group)}, a reader lists {sorted(again)}", end="; ")
    print(f"labels/cells by its path holds {value}")
    assert sorted(group) == sorted(again) == ["0"] and "labels" not in again and value == 7, "the behaviour has changed"
    zarr.consolidate_metadata(path)
    assert sorted(zarr.open_group(path, mode="r")) == ["0", "labels"], "consolidating again does not help"
PY
