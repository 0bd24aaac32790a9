#!/usr/bin/env bash
# numpy 2.4.6: what an array is a view of is invisible to Python's collector of cycles, also for subclasses of ndarray,
# whose attributes it does see. An image of a subclass that carries an attribute (a frame with its metadata, an array
# that reports its writes) stays for good when the attribute leads back to something that keeps a slice of the image, as
# a viewer keeps the slice it draws. With a copy of the slice, or the whole image in a list, the same cycle is collected.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q numpy==2.4.6 2>/dev/null
"$work/env/bin/python" - <<'PY'
import gc
import weakref

import numpy as np


class Frame(np.ndarray):
    """An image that knows where it is shown."""


class Layer:
    """Shows one slice of an image."""

    def __init__(self, keep):
        stack = np.zeros((4, 64, 64)).view(Frame)
        stack.shown_in = self
        self.drawn = keep(stack)


def is_kept(keep):
    layer = weakref.ref(Layer(keep))
    gc.collect()
    return layer() is not None


found = {
    "a slice": is_kept(lambda stack: stack[0]),
    "a copy of the slice": is_kept(lambda stack: stack[0].copy()),
    "a slice as ndarray": is_kept(lambda stack: np.asarray(stack)[0]),
    "the stack in a list": is_kept(lambda stack: [stack]),
}
for name, kept in found.items():
    print(f"a layer that keeps {name:20} {'stays for good' if kept else 'is collected'}")
assert list(found.values()) == [True, False, False, False], "the behaviour has changed"
PY
