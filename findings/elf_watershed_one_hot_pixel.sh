#!/usr/bin/env bash
# python-elf 0.9.2 (bioimage-cpp 0.10.0): elf.segmentation.watershed.watershed sorts heights into 65,536 levels between
# their minimum and maximum. One hot pixel far away from all objects stretches that range until the whole map is flat,
# and on flat ground one seed takes nearly everything (on a flat map, too). scikit-image 0.26.0, which sorts the values
# themselves, gives the same two objects with and without the pixel. Clip a map before handing it over.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q python-elf==0.9.2 bioimage-cpp==0.10.0 scikit-image==0.26.0 2>/dev/null
"$work/env/bin/python" - <<'PY'
import warnings

warnings.simplefilter("ignore")
import numpy as np
from elf.segmentation.watershed import watershed as elf_watershed
from skimage.segmentation import watershed as skimage_watershed

height = np.tile(np.abs(np.sin(np.linspace(0, 2 * np.pi, 40, endpoint=False))).astype("float32"), (40, 1))
seeds = np.zeros(height.shape, "uint32")
seeds[20, 1], seeds[20, 25] = 1, 2
hot = height.copy()
hot[0, 0] = 1e8


def areas(watershed, values):
    labels = watershed(values.copy(), seeds.copy())
    labels = labels[0] if isinstance(labels, tuple) else labels
    return np.bincount(labels.ravel(), minlength=3)[1:].tolist()


for name, function in (("elf", elf_watershed), ("scikit-image", skimage_watershed)):
    print(f"{name:13} areas of the two objects: {areas(function, height)}; with one hot pixel: {areas(function, hot)}")
assert areas(skimage_watershed, height) == areas(skimage_watershed, hot)
assert min(areas(elf_watershed, height)) > 400 and min(areas(elf_watershed, hot)) < 10, "the behaviour has changed"
PY
