"""Prompts in napari layers: between their features and arrays.

The tools of this program read the layers themselves; these functions are for scripts that build a window of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from micro_sam.errors import InputError

if TYPE_CHECKING:
    from magicgui.widgets import Container
    from napari import Viewer
    from napari.layers import Layer, Points, Shapes

__all__ = [
    "clear_annotations",
    "create_prompt_menu",
    "point_layer_to_prompts",
    "prompt_layer_to_boxes",
    "prompt_layer_to_points",
    "refuse_inner_part",
    "shape_layer_to_prompts",
    "toggle_label",
]

LABELS = ["positive", "negative"]


def create_prompt_menu(
    points_layer: Points, labels: list[str] | None = None, menu_name: str = "prompt", label_name: str = "label"
) -> Container[Any]:
    """A menu that shows and changes the label of the next points of a layer.

    Parameters
    ----------
    points_layer : napari.layers.Points
        With a feature of the name ``label_name``.
    labels : list of str, optional
        The choices; None: "positive" and "negative".
    menu_name, label_name : str
    """
    from magicgui.widgets import ComboBox, Container

    choice = ComboBox(label=menu_name, choices=labels or LABELS)

    def show(_event: Any = None) -> None:
        current = str(points_layer.feature_defaults[label_name].iloc[0])
        if current in choice.choices and current != choice.value:
            choice.value = current

    def use(label: str) -> None:
        _set_default(points_layer, label_name, label)

    points_layer.events.feature_defaults.connect(show)
    choice.changed.connect(use)
    show()
    return Container(widgets=[choice])


def toggle_label(prompts: Points) -> None:
    """Make the next points of a layer negative if they are positive, and the other way round."""
    current = str(prompts.feature_defaults["label"].iloc[0])
    _set_default(prompts, "label", LABELS[1] if current == LABELS[0] else LABELS[0])


def prompt_layer_to_points(
    prompt_layer: Points, i: int | None = None, track_id: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The points of a layer.

    Parameters
    ----------
    prompt_layer : napari.layers.Points
        With the feature ``label`` ("positive" or "negative"), and for tracks ``track_id``.
    i : int, optional
        Slice or frame, for points (z, y, x).
    track_id : int, optional
        Only the points of this track.

    Returns
    -------
    points : (n, 2) float64
        (y, x).
    labels : (n,) int64
        1 positive, 0 negative.
    """
    points = np.asarray(prompt_layer.data, float)
    labels = np.array([int(str(label) == LABELS[0]) for label in _feature(prompt_layer, "label")], "int64")
    selected = np.ones(len(points), bool)
    if i is not None:
        if points.shape[1] != 3:
            raise InputError("A slice is chosen in layers with points z, y, x; leave i out for this layer.")
        selected &= np.rint(points[:, 0]).astype(int) == i
    if track_id is not None:
        selected &= np.asarray(_feature(prompt_layer, "track_id")).astype(int) == track_id
    return points[selected][:, -2:], labels[selected]


def point_layer_to_prompts(
    layer: Points, i: int | None = None, track_id: int | None = None, with_stop_annotation: bool = True
) -> tuple[np.ndarray, np.ndarray] | None:
    """`prompt_layer_to_points`; None where a single negative point says that an object ends in the slice.

    Parameters
    ----------
    with_stop_annotation : bool
        Whether a single negative point has that meaning.
    """
    points, labels = prompt_layer_to_points(layer, i, track_id)
    if with_stop_annotation and i is not None and len(labels) == 1 and labels[0] == 0:
        return None
    return points, labels


def prompt_layer_to_boxes(prompt_layer: Shapes, i: int | None = None, track_id: int | None = None) -> list[np.ndarray]:
    """The boxes (y0, x0, y1, x1) of the shapes of a layer; parameters as of `prompt_layer_to_points`."""
    return shape_layer_to_prompts(prompt_layer, None, i, track_id)[0]


def shape_layer_to_prompts(
    layer: Shapes, shape: tuple[int, int] | None, i: int | None = None, track_id: int | None = None
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    """Boxes and masks of the shapes of a layer.

    Parameters
    ----------
    layer : napari.layers.Shapes
    shape : (H, W), optional
        Of the masks; None: no masks.
    i, track_id
        See `prompt_layer_to_points`.

    Returns
    -------
    boxes : list of (4,) arrays
        (y0, x0, y1, x1).
    masks : list of (H, W) bool arrays or None
        The areas of polygons and ellipses; None for rectangles.
    """
    from skimage.draw import ellipse, polygon2mask

    tracks = _feature(layer, "track_id") if track_id is not None else [track_id] * len(layer.data)
    boxes, masks = [], []
    for corners, kind, track in zip(layer.data, layer.shape_type, tracks, strict=True):
        corners = np.asarray(corners, float)
        if i is not None and corners.shape[1] == 3 and int(round(corners[0, 0])) != i:
            continue
        if track_id is not None and int(track) != track_id:
            continue
        plane = corners[:, -2:]
        boxes.append(np.concatenate([plane.min(0), plane.max(0)]))
        mask: np.ndarray | None = None
        if shape is not None and kind == "polygon":
            mask = polygon2mask(shape, plane)
        elif shape is not None and kind == "ellipse":
            mask = np.zeros(shape, bool)
            centre, radii = plane.mean(0), (plane.max(0) - plane.min(0)) / 2
            mask[ellipse(centre[0], centre[1], radii[0], radii[1], shape=shape)] = True
        masks.append(mask)
    return boxes, masks


def clear_annotations(viewer: Viewer, clear_segmentations: bool = True) -> None:
    """Remove the prompts of a tool, and with ``clear_segmentations`` its current object.

    Parameters
    ----------
    viewer : napari.Viewer
        With a tool of this program.
    """
    from micro_sam.sam_annotator.launch import get_annotator

    annotator = get_annotator(viewer)
    if clear_segmentations:
        annotator.actions.clear()
        return
    for name in (annotator.state.tool.names.prompts, annotator.state.tool.names.box_prompts):
        viewer.layers[name].data = []


def refuse_inner_part(*_: Any, **__: Any) -> None:
    """Not supported: inner parts of the windows of micro-sam 1.x.

    Raises
    ------
    InputError
    """
    raise InputError(
        "This inner part of the window of micro-sam 1.x is not supported. Use prompt_based_segmentation for single "
        "objects, multi_dimensional_segmentation for volumes and movies, or the windows themselves."
    )


def _feature(layer: Layer, name: str) -> pd.Series:
    if name not in layer.features:
        raise InputError(f"The layer {layer.name!r} has no feature {name!r}; it holds no prompts of this program.")
    return layer.features[name]


def _set_default(layer: Points, name: str, value: str) -> None:
    """The value of new points; points that are selected keep theirs."""
    layer.selected_data = set()
    layer.feature_defaults = {**layer.feature_defaults.iloc[0].to_dict(), name: value}
    layer.refresh()
