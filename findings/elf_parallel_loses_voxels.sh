#!/usr/bin/env bash
# python-elf 0.9.2 with zarr 3.1.6: elf.parallel writes to a zarr array from several threads. Its blocks follow the
# chunks of the *input*. When the chunks of the output are larger, several threads rewrite one output chunk, and most
# of what they wrote is lost: no error, no warning, a result that is about 80 % zeros. One would expect a refusal, or
# blocks aligned to what is written. With block_shape = a multiple of the output's chunks the result is right.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q python-elf==0.9.2 bioimage-cpp==0.10.0 zarr==3.1.6 2>/dev/null
cd "$work"
"$work/env/bin/python" - <<'PY'
import warnings

warnings.simplefilter("ignore")
import elf.parallel
import zarr

group = zarr.open_group("data.zarr", mode="w")
ones = group.create_array("input", shape=(512, 512), chunks=(64, 64), dtype="float32")
ones[:] = 1


def wrong(chunks, block_shape=None):
    out = group.create_array(f"out_{len(list(group.keys()))}", shape=(512, 512), chunks=chunks, dtype="float32")
    elf.parallel.add(ones, 1.0, out=out, n_threads=8, block_shape=block_shape)
    return float((out[:] != 2).mean())


same = wrong((64, 64))
larger = [wrong((512, 512)) for _ in range(5)]
aligned = wrong((512, 512), block_shape=(512, 512))
print(f"output chunks as the input's: {same:.0%} of the voxels wrong")
print("output chunks larger:", ", ".join(f"{share:.0%}" for share in larger), "wrong, without an error")
print(f"the same with block_shape = the output's chunks: {aligned:.0%} wrong")
assert same == 0 and aligned == 0 and max(larger) > 0.05, "the behaviour has changed"
PY
