"""Connected pieces of labels, measured block by block: what lies in several blocks is put together afterwards.

scikit-image's ``regionprops`` measures the pieces of one block. A block is read with one more slice and row on its
lower sides: pieces of two blocks that touch, also at an edge, have a pixel in common there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage import measure

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import released

BLOCK_BYTES = 2**26  # of labels that are measured at once
LOW, HIGH, CENTRE = ("z_min", "y_min", "x_min"), ("z_max", "y_max", "x_max"), ("z", "y", "x")


def measure_pieces(
    labels: Any,
    channels: Sequence[Any] = (),
    *,
    region: Sequence[slice] | None = None,
    only: int | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> pd.DataFrame:
    """Pixels, box, centre, pieces and means of each object.

    Parameters
    ----------
    labels : (Z, Y, X) integers
        Array, memory-mapped or lazy array; read in blocks.
    channels : sequence of (Z, Y, X) arrays
        Read in the same blocks.
    region : three slices with start and stop, optional
        Look there only.
    only : int, optional
        Measure this label only.
    block_bytes : int
        Bytes of labels in a block, roughly.

    Returns
    -------
    DataFrame
        Sorted by the index ``id``: ``pixels``, ``z_min`` to ``x_max`` (half-open), the centre ``z``, ``y``, ``x`` in
        pixels, ``pieces`` (connected also by corners), and ``mean_0``, ... for the channels. Pixels that are NaN were
        not measured and are left out of the mean, which is NaN where there are no others.

    Raises
    ------
    InputError
        When labels are negative.
    """
    zs, ys, xs = region if region is not None else tuple(slice(0, int(size)) for size in labels.shape)
    plane = (ys.stop - ys.start, xs.stop - xs.start)
    z_spans, y_spans = _spans(zs, ys, plane[1] * np.dtype(labels.dtype).itemsize, block_bytes)
    found: list[pd.DataFrame] = []
    pairs: list[npt.NDArray[np.int64]] = []
    count = 0
    plane_before = plane_now = row_before = np.zeros((0, 0), np.int64)
    for z0, z1 in z_spans:
        plane_now = np.zeros(plane if len(z_spans) > 1 else (0, 0), np.int64)
        for y0, y1 in y_spans:
            below, above = int(z0 > zs.start), int(y0 > ys.start)
            values = _read(labels, slice(z0 - below, z1), slice(y0 - above, y1), xs)
            if only is not None:
                values = np.where(values == only, values, 0)
            if values.dtype.kind == "i" and values.min(initial=0) < 0:
                raise InputError(f"The labels hold negative values (down to {values.min()}); labels are 0 or larger.")
            pieces = np.asarray(measure.label(values, connectivity=3), np.int64)
            ids = np.zeros(int(pieces.max(initial=0)) + 1, np.int64)
            ids[pieces] = values
            where = (slice(z0, z1), slice(y0, y1), xs)
            found.append(_properties(pieces[below:, above:], ids, count, where, channels))
            pieces[pieces > 0] += count
            if below:
                pairs.append(_touching(plane_before[y0 - above - ys.start : y1 - ys.start], pieces[0]))
            if above:
                pairs.append(_touching(row_before, pieces[below:, 0]))
            row_before = pieces[below:, -1].copy()
            if len(z_spans) > 1:
                plane_now[y0 - ys.start : y1 - ys.start] = pieces[-1, above:]
            count += len(ids) - 1
        plane_before = plane_now
    return _put_together(pd.concat(found), pairs, count)


def _spans(zs: slice, ys: slice, row: int, block_bytes: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """First and last slice, and row, of the blocks: whole slices where one is not too large."""
    rows = max(1, block_bytes // max(row, 1))
    height = min(rows, max(ys.stop - ys.start, 1))
    depth = max(1, rows // height) if height == ys.stop - ys.start else 1
    return tuple(  # type: ignore[return-value]  # of two
        [(a, min(a + step, one.stop)) for a in range(one.start, one.stop, step)]
        for one, step in ((zs, depth), (ys, height))
    )


def _read(array: Any, *where: slice) -> npt.NDArray[Any]:
    if not isinstance(array, np.ndarray):
        return np.asarray(array[where])
    with released(array):
        return np.array(array[where])


def _properties(
    pieces: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    count: int,
    where: tuple[slice, ...],
    channels: Sequence[Any],
) -> pd.DataFrame:
    """The pieces of a block, with places in the whole."""
    names = ["label", "area", "bbox", "centroid"]
    image, has_gaps = None, False
    if channels and len(ids) > 1:
        image = np.stack([_read(channel, *where) for channel in channels], axis=-1)
        has_gaps = image.dtype.kind == "f" and bool(np.isnan(image).any())
        if has_gaps:
            known = ~np.isnan(image)
            image = np.concatenate([np.where(known, image, 0), known], axis=-1)
        names.append("intensity_mean")
    found = measure.regionprops_table(pieces, image, properties=names) if len(ids) > 1 else {}

    def get(name: str) -> npt.NDArray[Any]:
        return np.asarray(found.get(name, ()))

    numbers = get("label").astype(np.int64)
    table = {"number": numbers + count, "id": ids[numbers], "pixels": get("area").astype(np.int64)}
    for k, one in enumerate(where):
        table[LOW[k]] = get(f"bbox-{k}").astype(np.int64) + one.start
        table[HIGH[k]] = get(f"bbox-{k + 3}").astype(np.int64) + one.start
        table[CENTRE[k]] = get(f"centroid-{k}").astype(float) + one.start
    for k in range(len(channels)):
        share = get(f"intensity_mean-{k + len(channels)}").astype(float) if has_gaps else 1.0
        table[f"pixels_{k}"] = table["pixels"] * share  # of which the value is known
        table[f"sum_{k}"] = get(f"intensity_mean-{k}").astype(float) * table["pixels"]
    return pd.DataFrame(table)


def _touching(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n, 2) numbers of the pieces that two views of the same pixels have in common."""
    both = np.stack([one.ravel(), other.ravel()], axis=1)
    both = both[both.all(axis=1)]
    return np.unique(both, axis=0) if len(both) else both


def _put_together(found: pd.DataFrame, pairs: list[npt.NDArray[np.int64]], count: int) -> pd.DataFrame:
    links = np.concatenate([np.zeros((0, 2), np.int64), *pairs])
    matrix = coo_matrix((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count + 1, count + 1))
    found["piece"] = connected_components(matrix, directed=False)[1][found["number"]]
    groups = found.groupby("id", sort=True)
    result = groups.agg(
        pixels=("pixels", "sum"),
        **{name: (name, "min") for name in LOW},
        **{name: (name, "max") for name in HIGH},
        pieces=("piece", "nunique"),
    )
    for name in CENTRE:
        result[name] = (found[name] * found["pixels"]).groupby(found["id"]).sum() / result["pixels"]
    for name in [name for name in found.columns if name.startswith("sum_")]:
        channel = name.removeprefix("sum_")
        result[f"mean_{channel}"] = groups[name].sum() / groups[f"pixels_{channel}"].sum()
    return result
