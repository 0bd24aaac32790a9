"""An image that is stored at several resolutions is shown so, and segmented at the finest."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from micro_sam.sam_annotator import annotator_2d
from micro_sam.sam_annotator.state.images import from_path

from .driver import click, wait_idle, wait_until

COIN = (60, 100)


def pyramid(path, image, axes="yx", steps=(1, 2, 4)):
    """An OME-Zarr 0.4 of an image, every second pixel in each next level."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    levels = []
    for k, step in enumerate(steps):
        data = image[..., ::step, ::step]
        group.create_array(str(k), data=data, chunks=(*(1,) * (data.ndim - 2), 64, 64))
        scale = [1.0] * (data.ndim - 2) + [0.5 * step] * 2
        transformations = [{"type": "scale", "scale": scale}]
        levels.append({"path": str(k), "coordinateTransformations": transformations})
    kinds = {"c": "channel", "t": "time"}
    names = [{"name": letter, "type": kinds.get(letter, "space")} for letter in axes]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": names, "datasets": levels}]
    return path


def test_a_pyramid_is_shown_as_one_and_clicked_at_full_resolution(tmp_path, coins, opened):
    tool = opened(annotator_2d, pyramid(tmp_path / "coins.zarr", coins), model_type="nano_lm")
    raw = tool.layers.raw
    assert raw.multiscale and [level.shape for level in raw.data] == [(303, 384), (152, 192), (76, 96)]
    assert tool.session.shape == (303, 384)
    assert wait_until(lambda: tool.engine.predictor is not None and not tool.engine.busy), tool.status.text
    click(tool, COIN)
    wait_idle(tool)
    assert tool.session.current[COIN] and tool.session.current.sum() > 300
    y0, x0, y1, x1 = tool._sight.box()
    assert y1 - y0 > 200 and x1 - x0 > 250, "the view counts pixels of the full resolution"


@pytest.mark.parametrize("axes", ["cyx", "tczyx"])
def test_all_resolutions_show_the_same_channel(tmp_path, coins, axes):
    two = np.stack([coins, 255 - coins])
    data = two if axes == "cyx" else two[None, :, None]
    path = pyramid(tmp_path / "two.zarr", data, axes)
    for channel, expected in ((None, coins), (1, 255 - coins)):
        image = from_path(path, "2d", channel=channel)
        assert [level.shape for level in image.shown] == [(303, 384), (152, 192), (76, 96)]
        for step, level in zip((1, 2, 4), image.shown, strict=True):
            np.testing.assert_array_equal(np.asarray(level), expected[::step, ::step])


def test_stacks_are_shown_at_resolutions_that_have_all_slices(tmp_path, coins):
    stack = np.stack([coins] * 4)
    path = pyramid(tmp_path / "stack.zarr", stack, "zyx", (1, 2))
    assert [level.shape for level in from_path(path, "3d").shown] == [(4, 303, 384), (4, 152, 192)]
    group = zarr.open_group(str(path), mode="r+")
    del group["1"]
    group.create_array("1", data=stack[::2, ::2, ::2])
    image = from_path(path, "3d")
    assert not image.levels and image.shown is image.data


def test_what_is_no_lower_resolution_is_not_shown_as_one(tmp_path, coins):
    path = pyramid(tmp_path / "coins.zarr", coins)
    group = zarr.open_group(str(path), mode="r+")
    del group["1"]  # the metadata say that it is there
    assert not from_path(path, "2d").levels
    group.create_array("1", data=coins)
    assert not from_path(path, "2d").levels
