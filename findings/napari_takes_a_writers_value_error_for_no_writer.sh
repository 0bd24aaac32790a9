#!/usr/bin/env bash
# napari 0.9.2 (npe2 0.10.0): a plugin's writer that refuses what it is given with a ValueError, the usual error for a bad
# value, is not heard. napari takes every ValueError on that way for its own "no writer found": save() returns an empty
# list, and the user reads that the plugin "is not a valid writer" for this name, although it was called and has said
# why. The same refusal as a RuntimeError reaches the user with its text. So writers of plugins must not raise ValueError
# (nor what is derived from it) for labels or tracks that a format cannot hold.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q napari==0.9.2 npe2==0.10.0 2>/dev/null
cd "$work"
NAPARI_CONFIG="$work/settings.yaml" "$work/env/bin/python" - <<'PY'
import os
import tempfile
import warnings

import numpy as np
from napari.components.layerlist import LayerList
from napari.layers import Labels
from napari.plugins import _initialize_plugins
from npe2 import DynamicPlugin, PluginManager

_initialize_plugins()
plugin = DynamicPlugin("demo", plugin_manager=PluginManager.instance())
plugin.register()
kind, called = [ValueError], []


@plugin.contribute.writer(layer_types=["labels"], filename_extensions=[".demo"], display_name="demo")
def write(path, data, meta):
    called.append(path)
    raise kind[0]("object 7 is in two pieces")


def save(error):
    kind[0] = error
    called.clear()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            written = LayerList([Labels(np.ones((4, 4), "uint8"))]).save(os.path.join(folder, "cells.demo"), plugin="demo")
            end = f"returned {written}"
        except Exception as caught:
            end = f"raised {type(caught).__name__}: {caught}"
        texts = [str(one.message) for one in said if issubclass(one.category, UserWarning)]
    print(f"{error.__name__}: called {len(called)} times; {end}; warned {texts}")
    return end, texts

end, texts = save(ValueError)
assert end == "returned []" and len(texts) == 1, "the behaviour has changed"
assert "is not a valid writer" in texts[0] and "two pieces" not in texts[0], "the behaviour has changed"
assert save(RuntimeError) == ("raised RuntimeError: object 7 is in two pieces", []), "the behaviour has changed"
PY
