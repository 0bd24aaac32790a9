"""Volumes that are not like others, in a real window: the right object, or one sentence, and never a traceback."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch

from micro_sam.sam_annotator import annotator_3d
from micro_sam.sam_annotator.runtime.jobs import MAPS

from .driver import key, wait_idle, wait_until
from .test_3d_whole_objects import click_at
from .volumes import FIRST, go_to, menu, middle_of, overlap, slices_of, small_volume


def start(opened, image, **options):
    """A 3D tool, and all that it says."""
    tool = opened(annotator_3d, image, **({"model_type": "nano_lm"} | options))
    told = []
    tool.status.changed.connect(lambda text, kind: told.append((kind, text)))
    assert wait_until(lambda: tool.session.model.maps is not None and tool.session.model.maps.is_complete), (
        tool.status.text
    )
    wait_idle(tool)
    return tool, told


def write(path, volume, spacing):
    tifffile.imwrite(
        path, volume, imagej=True, resolution=(1, 1), metadata={"axes": "ZYX", "spacing": spacing, "unit": "um"}
    )
    return path


def no_errors(told):
    return not [text for kind, text in told if kind == "error"], told


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def test_slices_that_are_far_apart_are_looked_at_along_z_only_and_the_window_says_so(opened, tmp_path):
    volume, truth = small_volume()
    path = write(tmp_path / "stack.tif", volume[::2], 5.0)
    tool, told = start(opened, path)
    assert tool.session.model.maps.geometry.axes == (0,) and "5 pixels apart" in tool.status.text, tool.status.text
    z, y, x = middle_of(FIRST)
    click_at(tool, (z // 2, y, x))
    assert iou(tool.session.current > 0, truth[::2] == FIRST) > 0.5, tool.status.text
    assert no_errors(told)[0], told


@pytest.mark.parametrize(("spacing", "words"), [(None, "size of a voxel is not known"), (1e9, "cannot be right")])
def test_a_voxel_size_that_is_missing_or_absurd_is_told(opened, tmp_path, spacing, words):
    volume = small_volume()[0]
    image = volume if spacing is None else write(tmp_path / "stack.tif", volume, spacing)
    tool, told = start(opened, image)
    assert tool.session.model.maps.geometry.axes == (0,) and words in tool.status.text, tool.status.text
    click_at(tool, middle_of(FIRST))
    assert overlap(tool.session.current > 0, FIRST) > 0.6 and no_errors(told)[0], told


def test_three_slices(opened, tmp_path):
    volume, truth = small_volume()
    z, y, x = middle_of(FIRST)
    tool, told = start(opened, write(tmp_path / "stack.tif", volume[z - 1 : z + 2], 2.5))
    click_at(tool, (1, y, x))
    assert iou(tool.session.current > 0, truth[z - 1 : z + 2] == FIRST) > 0.6, tool.status.text
    key(tool.viewer, "v")
    wait_idle(tool)
    assert slices_of(tool) == [0, 1, 2] and no_errors(told)[0], told


def test_colours(opened):
    volume = np.stack([small_volume()[0]] * 3, axis=-1)
    volume[..., 1] //= 2
    tool, told = start(opened, volume)
    assert tool.session.shape == volume.shape[:3]
    click_at(tool, middle_of(FIRST))
    assert overlap(tool.session.current > 0, FIRST) > 0.5, tool.status.text
    menu(tool).all_slices.native.click()
    wait_idle(tool)
    assert "in the volume" in tool.status.text and no_errors(told)[0], told


def test_a_volume_without_any_object(opened):
    tool, told = start(opened, np.full((6, 90, 110), 100, np.uint8))
    click_at(tool, (3, 45, 50))
    key(tool.viewer, "v")
    wait_idle(tool)
    assert no_errors(told)[0], told
    tool.session.prompts.clear()
    menu(tool).all_slices.native.click()
    wait_idle(tool)
    assert "No object" in tool.status.text and no_errors(told)[0], told
    tool.actions.use_tool("paint")
    from .driver import drag

    go_to(tool, 3)
    drag(tool, (3, 45, 40), (3, 45, 60))
    wait_idle(tool)
    assert tool.session.current[3].any() and no_errors(told)[0], told


def test_a_model_without_a_dense_head_goes_from_slice_to_slice(opened, tmp_path):
    from micro_sam.models.sam import Sam

    torch.manual_seed(0)
    checkpoint = tmp_path / "model.pth"
    torch.save(Sam.from_architecture("vit_t").state_dict(), checkpoint)
    tool = opened(annotator_3d, small_volume()[0][:4, :64, :64], model_type=None, checkpoint_path=checkpoint)
    assert wait_until(lambda: tool.session.model.embeddings is not None and tool.session.model.embeddings.is_complete())
    wait_idle(tool)
    told = []
    tool.status.changed.connect(lambda text, kind: told.append((kind, text)))
    assert (
        tool.session.model.maps is None and tool.jobs.running(MAPS) is None and "hole objects" not in tool.status.text
    )
    assert menu(tool).all_parameters.isHidden() and not tool.volume.automatic.by_maps
    click_at(tool, (1, 30, 30))
    assert "by itself" not in tool.status.text
    key(tool.viewer, "v")
    wait_idle(tool)
    assert no_errors(told)[0], told
    menu(tool).method.value = "maps"
    key(tool.viewer, "v")
    wait_idle(tool)
    assert "no maps" in tool.status.text and tool.status.kind == "error"
