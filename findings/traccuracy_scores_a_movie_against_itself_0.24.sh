#!/usr/bin/env bash
# traccuracy 0.4.3: CTCMatcher pairs the frames of two movies by their position in the list of frames that hold
# objects, but reads the segmentation by frame number. When the first frames of a movie are empty (nothing has entered
# the field of view yet), a movie compared with itself gets TRA 0.24 and LNK 0 instead of 1. IOUMatcher gives 1.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q traccuracy==0.4.3 2>/dev/null
"$work/env/bin/python" - 2>/dev/null <<'PY'
import warnings

warnings.simplefilter("ignore")
import networkx as nx
import numpy as np
from traccuracy import TrackingGraph, run_metrics
from traccuracy.matchers import CTCMatcher, IOUMatcher
from traccuracy.metrics import CTCMetrics


def movie(first):
    """One cell that moves to the right, seen from frame `first` to frame 4 of five."""
    masks, graph = np.zeros((5, 32, 32), "uint16"), nx.DiGraph()
    for t in range(first, 5):
        masks[t, 10:16, 10 + t : 16 + t] = 1
        graph.add_node(t, t=t, segmentation_id=1, y=12.5, x=12.5 + t)
    graph.add_edges_from((t, t + 1) for t in range(first, 4))
    keys = {"frame_key": "t", "label_key": "segmentation_id", "location_keys": ("y", "x")}
    return TrackingGraph(graph, segmentation=masks, **keys)


def score(first, matcher):
    results, _ = run_metrics(movie(first), movie(first), matcher=matcher, metrics=[CTCMetrics()])
    return results[0]["results"]["TRA"], results[0]["results"]["LNK"]


seen_always, late, late_iou = score(0, CTCMatcher()), score(2, CTCMatcher()), score(2, IOUMatcher(iou_threshold=0.5))
print("a movie against itself, (TRA, LNK)")
print("objects from the first frame on, CTCMatcher:", seen_always)
print("two empty frames first, CTCMatcher:         ", late)
print("two empty frames first, IOUMatcher:         ", late_iou)
assert seen_always == late_iou == (1.0, 1.0) and late[0] < 0.5 and late[1] == 0, "the behaviour has changed"
PY
