#!/usr/bin/env bash
# napari 0.9.2: the list of layers turns *every* event of every layer into "this row has changed" without naming a role,
# and Qt then draws the rows in sight again, thumbnails scaled and all. One pixel written with Labels.data_setitem() is
# two such changes, a brush size one, a selected point several. In a window with eight layers most of the time of a quick
# sequence of small edits goes into that list, not into the picture. (A listener that is connected to the event by its
# name is not affected: blocking the layer's event *group* during the edit keeps the list still.)
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q napari==0.9.2 pyqt6==6.11.0 2>/dev/null
QT_QPA_PLATFORM=offscreen "$work/env/bin/python" - <<'PY'
import time
import warnings

warnings.simplefilter("ignore")
import numpy as np
from napari._qt.containers import QtLayerList
from napari._qt.containers._layer_delegate import LayerDelegate
from napari.components.layerlist import LayerList
from napari.layers import Labels
from qtpy.QtWidgets import QApplication

app = QApplication([])
drawn, draw = [], LayerDelegate.paint


def paint(self, painter, option, index):
    drawn.append(index.row())
    draw(self, painter, option, index)


LayerDelegate.paint = paint
layers = LayerList([Labels(np.zeros((64, 64), "uint8"), name=f"layer {k}") for k in range(8)])
view = QtLayerList(layers)
view.resize(300, 500)
view.show()
changes = []
view.model().sourceModel().dataChanged.connect(lambda first, last, roles: changes.append(list(roles)))


def settle():
    for _ in range(10):
        app.processEvents()
        time.sleep(0.02)


def count(edit):
    settle()
    changes.clear(), drawn.clear()
    for k in range(10):
        edit(k)
        app.processEvents()
    settle()
    print(f"10 edits: {len(changes)} rows reported, {changes.count([])} without a role, {len(drawn)} rows drawn")
    return len(changes), len(drawn)


layer = layers[0]
reported, rows = count(lambda k: layer.data_setitem((np.array([k]), np.array([k])), 1))
assert reported >= 20 and rows >= 10, "the behaviour has changed"


def quietly(k):
    with layer.events.blocker():
        layer.data_setitem((np.array([k]), np.array([20 + k])), 1)


reported, rows = count(quietly)
assert reported == 0 and rows == 0, "the behaviour has changed"
PY
