"""An image as a tool needs it: checked, its channels and voxel size understood, and where it lies in the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from napari.layers import Image, Layer

from micro_sam.errors import InputError
from micro_sam.io.addresses import is_address, path_of
from micro_sam.io.axes import check_axes
from micro_sam.io.checks import CheckedImage, Tool, check_image
from micro_sam.io.images import open_image
from micro_sam.io.inputs import as_array, is_path
from micro_sam.io.normalization import sample_slice
from micro_sam.io.source import ImageSource


@dataclass(frozen=True)
class Placement:
    """What comes after the scale of a layer: translation, rotation, shear, affine.

    Attributes
    ----------
    matrix
        (ndim + 1, ndim + 1), from pixels times scale to the world.
    units
        Units of the axes, as napari has them; None: not known to this version of napari.
    """

    matrix: np.ndarray
    units: tuple[Any, ...] | None = None

    def apply(self, layer: Layer) -> None:
        """Put a layer there; one with fewer axes lies along the last ones."""
        n = min(layer.ndim, len(self.matrix) - 1)
        matrix = np.eye(layer.ndim + 1)
        rows = [*range(layer.ndim - n, layer.ndim), layer.ndim]
        mine = [*range(len(self.matrix) - 1 - n, len(self.matrix) - 1), len(self.matrix) - 1]
        matrix[np.ix_(rows, rows)] = self.matrix[np.ix_(mine, mine)]
        if not np.array_equal(np.asarray(layer.affine.affine_matrix), matrix):
            layer.affine = matrix
        if self.units is not None and n == layer.ndim:
            layer.units = self.units[-n:]


def placement_of(layer: Layer, axes: Sequence[int]) -> Placement:
    """Where a layer lies, along some of its axes.

    Parameters
    ----------
    layer
        In the viewer.
    axes
        Axes of the layer that the image has.
    """
    axes, n = list(axes), layer.ndim
    origin = np.asarray(layer.data_to_world((0,) * n), float)
    columns = [np.asarray(layer.data_to_world(np.eye(n)[k]), float) - origin for k in axes]
    scale = np.asarray(layer.scale, float)[axes]
    matrix = np.eye(len(axes) + 1)
    matrix[:-1, :-1] = np.array(columns).T[axes] / scale
    matrix[:-1, -1] = origin[axes]
    units = getattr(layer, "units", None)
    return Placement(matrix, tuple(units[k] for k in axes) if units is not None else None)


def origin(ndim: int) -> Placement:
    """The place of an image that is nowhere else."""
    return Placement(np.eye(ndim + 1))


@dataclass(frozen=True)
class OpenImage:
    """An image that fits the tool.

    Attributes
    ----------
    data
        What the layer ``raw`` shows: (H, W), (H, W, 3|4), or the same with Z in front.
    rgb
        Whether the last axis holds colours.
    name
        For file names and messages.
    path, key
        Where it came from, if from a file.
    scale
        Voxel size per axis without channels; None where it is not known.
    contrast_limits
        For the display; None: napari decides.
    layer
        The napari layer it was taken from, if any.
    note
        What was assumed about the image, as sentences for the user.
    n_channels, channel
        How many channels there are to choose from, and which one this is (None: colours, or a mix).
    source
        What was read from the file, to choose another channel.
    placement
        Where the layer lies that it was taken from; None: at the origin.
    result
        Where its objects are saved, where that is known beforehand (a series).
    earlier
        Earlier result that the session begins with, where it is a file: its classes lie beside it.
    levels
        The same at lower resolutions, finest first: a large image is then shown without being read as a whole.
    """

    data: Any
    rgb: bool = False
    name: str = "image"
    path: Path | None = None
    key: str | None = None
    scale: tuple[float, ...] | None = None
    contrast_limits: tuple[float, float] | None = None
    layer: Image | None = None
    note: str = ""
    n_channels: int = 1
    channel: int | None = None
    source: ImageSource | None = None
    placement: Placement | None = None
    result: Path | None = None
    earlier: Path | None = None
    levels: tuple[Any, ...] = ()

    @property
    def shown(self) -> Any:
        """What the layer gets: the pixels, or all resolutions."""
        return [self.data, *self.levels] if self.levels else self.data

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (Z, H, W), without colours."""
        return tuple(self.data.shape[:-1] if self.rgb else self.data.shape)

    @property
    def whole_file(self) -> Path | None:
        """The file or address whose pixels these are as they are, so that size and time tell whether it changed."""
        if self.path is None or is_address(self.path):
            return self.path
        return self.path if self.key is None and self.channel is None and self.path.is_file() else None

    def renamed(self, name: str) -> OpenImage:
        """The same image under another name."""
        return replace(self, name=name)

    @property
    def pixels(self) -> Any:
        """What the network sees."""
        return self.data


def from_array(
    raw: Any, tool: Tool, name: str = "image", *, channel: int | str | None = None, axes: str | None = None
) -> OpenImage:
    """Check an array for a tool.

    Raises
    ------
    InputError
        When the shape does not fit; the message proposes what it could be.
    """
    source = ImageSource(as_array(raw), axes)
    return _from_source(source, tool, name, channel)


def with_channel(image: OpenImage, tool: Tool, channel: int | str) -> OpenImage:
    """Another channel of the same image, the ``"mix"`` of all, or its ``"colours"``."""
    assert image.source is not None
    opened = _from_source(image.source, tool, image.name, None if channel == "colours" else channel)
    return replace(opened, path=image.path, key=image.key, result=image.result, earlier=image.earlier)


def from_path(
    path: str | Path,
    tool: Tool,
    key: str | None = None,
    *,
    channel: int | str | None = None,
    axes: str | None = None,
) -> OpenImage:
    """Open and check an image file, or a sample (``sample:NAME``). `axes` counts more than what the file says.

    `key` is the dataset of a container, or the number or name of one of several images in a file.

    Raises
    ------
    InputError
        When it cannot be read, or does not fit the tool.
    """
    source = open_image(path, key)
    if axes is not None:
        source = replace(source, axes=check_axes(axes, source.shape))
    image = _from_source(source, tool, source.name, channel)
    is_file = not str(path).startswith("sample:")
    return replace(image, path=path_of(path) if is_file else None, key=key)


def from_layer(layer: Image, tool: Tool) -> OpenImage:
    """Take an image that is in the viewer. The layer itself is used when the tool needs its pixels as they are.

    Raises
    ------
    InputError
        When the image does not fit the tool.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    axes = {2: "YX", 3: "ZYX"}[data.ndim - 1] + "S" if layer.rgb and data.ndim in (3, 4) else None
    image = _opened(check_image(data, tool, axes=axes, scale=None), layer.name)
    if layer.multiscale:
        image = replace(image, levels=_levels(ImageSource(data, axes, levels=tuple(layer.data[1:])), image, tool))
    kept = _axes_of_layer(tuple(data.shape[: layer.ndim]), image.shape)
    if kept is None:
        return image
    scale, placement = tuple(float(layer.scale[k]) for k in kept), placement_of(layer, kept)
    image = replace(image, scale=scale, placement=placement)
    if not layer.multiscale and len(kept) == layer.ndim and image.data.ndim == data.ndim:
        return replace(image, layer=layer, contrast_limits=None)
    return image


def _axes_of_layer(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[int] | None:
    """The axes of a layer that the image has; None when they cannot be told."""
    n = len(wanted)
    ways = ([k for k, size in enumerate(shape) if size > 1], list(range(len(shape)))[-n:], list(range(n)))
    return next((way for way in ways if tuple(shape[k] for k in way) == wanted), None)


def open_any(raw: Any, tool: Tool, key: str | None = None, axes: str | None = None) -> OpenImage:
    """An image from whatever a script has: an array, a path, or a napari layer."""
    if is_path(raw):
        return from_path(raw, tool, key, axes=axes)
    if isinstance(raw, Image):
        return from_layer(raw, tool)
    return from_array(raw, tool, axes=axes)


def _from_source(source: ImageSource, tool: Tool, name: str, channel: int | str | None = None) -> OpenImage:
    opened = _opened(check_image(source, tool, channel=cast(Any, channel)), name)
    return replace(opened, source=source, levels=_levels(source, opened, tool))


def _levels(source: ImageSource, opened: OpenImage, tool: Tool) -> tuple[Any, ...]:
    """The lower resolutions of what a tool shows; of stacks those that have all slices."""
    found, channel = (
        [],
        "mix" if opened.channel is None and opened.n_channels > 1 and not opened.rgb else opened.channel,
    )
    for level in source.levels:
        try:
            shown = check_image(
                replace(source, data=level, levels=(), axes=source.axes), tool, channel=cast(Any, channel)
            )
        except InputError:
            break
        is_same_kind = shown.is_rgb == opened.rgb and len(shown.data.shape) == len(opened.data.shape)
        if not is_same_kind or (len(opened.shape) == 3 and shown.shape[0] != opened.shape[0]):
            break
        found.append(shown.data)
    return tuple(found)


def _opened(checked: CheckedImage, name: str) -> OpenImage:
    return OpenImage(
        checked.data,
        rgb=checked.is_rgb,
        name=name,
        scale=checked.scale,
        contrast_limits=None if checked.is_rgb else display_limits(checked.data, checked.ndim),
        note=checked.note,
        n_channels=checked.n_channels,
        channel=checked.channel,
    )


def display_limits(data: Any, ndim: int, most: int = 500_000) -> tuple[float, float] | None:
    """Contrast limits that neither a hot pixel nor a NaN can spoil: percentiles of a sample of the finite pixels."""
    if isinstance(data, np.ndarray):
        plane = data[data.shape[0] // 2] if ndim == 3 else data
        step = max(1, int(np.ceil(np.sqrt(np.prod(plane.shape, dtype=float) / most))))
        values = np.asarray(plane[::step, ::step], dtype=np.float64)
    else:  # every step of a few pixels would be a read of the whole image
        values = sample_slice(data, (data.shape[0] // 2,) if ndim == 3 else (), 4 * most).astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, (0.2, 99.8))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)


def full_scale(scale: tuple[float, ...] | None, ndim: int) -> tuple[float, ...]:
    """One factor per axis; 1 where nothing is known."""
    return tuple(scale) if scale is not None else (1.0,) * ndim
