"""Makes trackastra.zip with trackastra 0.5.6, whose dependencies (a solver with a licence) no environment here holds.

python make_trackastra.py trackastra.zip
"""

import shutil
import sys
import tempfile
from pathlib import Path

import networkx as nx
import numpy as np
from trackastra.tracking import graph_to_ctc
from trackastra.tracking.utils import write_to_geff

labels = np.zeros((4, 20, 30), np.uint16)
labels[:2, 3:9, 3:9], labels[2:, 3:9, 3:9], labels[2:, 12:18, 12:18] = 1, 2, 3
graph, nodes = nx.DiGraph(), {}
for t in range(4):
    for label in np.unique(labels[t])[1:]:
        nodes[t, int(label)] = len(nodes)
        centre = tuple(np.argwhere(labels[t] == label).mean(0))
        graph.add_node(len(nodes) - 1, time=t, label=int(label), coords=centre)
for a, b in [((0, 1), (1, 1)), ((1, 1), (2, 2)), ((1, 1), (2, 3)), ((2, 2), (3, 2)), ((2, 3), (3, 3))]:
    graph.add_edge(nodes[a], nodes[b], weight=1.0)
with tempfile.TemporaryDirectory() as folder:
    graph_to_ctc(graph, labels, outdir=Path(folder) / "ctc")
    write_to_geff(graph, labels, Path(folder) / "graph.zarr")
    shutil.make_archive(sys.argv[1].removesuffix(".zip"), "zip", folder)
