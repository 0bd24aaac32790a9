"""One object of a volume from prompts in any slices, on maps that tell the truth."""

import math

import numpy as np
import pytest
from scipy import ndimage
from segmentation_helpers import iou

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import is_on_disc
from micro_sam.segmentation.values import ObjectMask
from micro_sam.segmentation.volume import labelling
from micro_sam.segmentation.volume import maps as volume_maps
from micro_sam.segmentation.volume import object as volume_object
from micro_sam.segmentation.volume.automatic import segment_volume
from micro_sam.segmentation.volume.geometry import MapBlock, MapGeometry
from micro_sam.segmentation.volume.maps import VolumeMaps
from micro_sam.segmentation.volume.object import segment_volume_object, segment_volume_objects
from micro_sam.segmentation.volume.regions import Regions
from micro_sam.segmentation.volume.values import VolumePrompts

SHAPE = (24, 60, 80)


def balls(centres, radius=9.0, shape=SHAPE, spacing=1.0):
    """Labels of balls; later ones do not cover earlier ones."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    labels = np.zeros(shape, "uint32")
    for value, (cz, cy, cx) in enumerate(centres, 1):
        inside = ((z - cz) * spacing) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
        labels[inside & (labels == 0)] = value
    return labels


def maps_of(labels, spacing=1.0, flat=False):
    """Foreground and depth of labels; `flat`: the depth does not show where touching objects meet."""
    depth = np.zeros(labels.shape)
    for one in [labels > 0] if flat else [labels == value for value in np.unique(labels)[1:]]:
        inside = ndimage.distance_transform_edt(one, sampling=(spacing, 1, 1))
        depth = np.maximum(depth, inside / max(inside.max(), 1))
    return VolumeMaps.from_arrays((labels > 0).astype("float32"), depth, spacing)


TWO = balls([(12, 30, 28), (12, 30, 44)])
MAPS = maps_of(TWO)


def segment(maps, points=(), labels=None, **more):
    found = segment_volume_object(
        maps, VolumePrompts(points, np.ones(len(points)) if labels is None else labels, **more)
    )
    return found, found.full(maps.shape)


def test_one_click_gives_the_whole_object_and_not_its_neighbour():
    found, mask = segment(MAPS, [(9, 28, 27)])
    assert iou(mask, TWO == 1) > 0.85 and not (mask & (TWO == 2)).sum() > 0.05 * (TWO == 2).sum()
    assert found.hint == "" and (found.certainty > 0.4).all() and len(found.certainty) == len(found.slices)


def test_objects_that_reach_beyond_the_first_window_are_whole():
    labels = np.zeros((40, 200, 210), "uint32")
    labels[5:35, 20:180, 30:190] = 1
    _, mask = segment(maps_of(labels), [(10, 40, 50)])
    assert iou(mask, labels == 1) > 0.95


def test_large_objects_are_found_on_a_coarser_grid_with_the_same_outline(monkeypatch):
    labels = balls([(20, 90, 70), (20, 90, 127)], 29, (41, 181, 200))
    maps = maps_of(labels)
    prompts = [(20, 88, 66), (20, 75, 90)], [1, 0]
    painted = np.zeros(labels.shape[1:], bool)
    painted[66:111, 44:93] = True
    fine = []
    for voxels in (10**9, 120_000):
        monkeypatch.setattr(volume_object, "FINE_VOXELS", voxels)
        _, whole = segment(maps, prompts[0][:1])
        _, corrected = segment(maps, *prompts)
        _, exact = segment(maps, prompts[0][:1], masks={20: ObjectMask.from_array(painted)})
        assert (exact[20] == painted).all()
        fine.append((whole, corrected, exact))
    assert all(iou(a, b) > 0.95 for a, b in zip(*fine, strict=True)) and iou(fine[1][0], labels == 1) > 0.9
    # the same while one direction is not known everywhere yet
    half = VolumeMaps(MapGeometry(labels.shape, labels.shape, (1.0, 1.0), (0, 1), side=200))
    for z in range(len(labels)):
        half.add(MapBlock(0, z), np.stack(maps.read((slice(z, z + 1), slice(0, 181), slice(0, 200)))))
    half.add(MapBlock(1, 90), np.stack(maps.read((slice(0, 41), slice(90, 91), slice(0, 200)))))
    _, growing = segment(half, prompts[0][:1])
    assert iou(growing, fine[1][0]) > 0.99


def test_a_negative_click_splits_two_touching_nuclei():
    maps = VolumeMaps.from_arrays((TWO > 0).astype("float32"), np.where(TWO > 0, 0.8, 0))
    _, both = segment(maps, [(12, 30, 26)])
    _, one = segment(maps, [(12, 30, 26), (12, 30, 46)], [1, 0])
    assert iou(both, TWO > 0) > 0.85
    assert iou(one, TWO == 1) > 0.8


def test_a_positive_click_joins_the_other_part_of_an_object():
    _, mask = segment(MAPS, [(12, 30, 26), (12, 30, 46)], [1, 1])
    assert iou(mask, TWO > 0) > 0.9


def test_between_dense_objects_a_click_near_the_border_takes_no_more_than_the_gap():
    _, before = segment(MAPS, [(12, 30, 26)])
    _, mask = segment(MAPS, [(12, 30, 26), (12, 30, 39)], [1, 1])
    assert mask[12, 30, 39] and (mask & (TWO == 2)).sum() < 0.4 * (TWO == 2).sum()
    assert (before & ~mask).sum() == 0


def test_a_negative_click_in_a_slice_without_other_prompts_splits_off_what_it_lies_in():
    maps = VolumeMaps.from_arrays((TWO > 0).astype("float32"), np.where(TWO > 0, 0.8, 0))
    _, mask = segment(maps, [(12, 30, 26), (15, 30, 47)], [1, 0])
    assert mask[15].any() and not mask[15, 30, 47] and iou(mask, TWO == 1) > 0.75


def test_a_negative_click_leaves_most_of_an_object_whose_surface_was_corrected_before():
    first = [(12, 30, 26), (12, 20, 28), (12, 34, 21)]  # the second adds a little at the surface
    _, before = segment(MAPS, first[:2], [1, 1])
    _, mask = segment(MAPS, first, [1, 1, 0])
    assert not mask[12, 34, 21] and (before & ~mask).sum() < 0.4 * before.sum()


def test_a_negative_click_near_a_thin_place_does_not_cut_the_object_in_two():
    labels = np.zeros((20, 60, 100), "uint32")
    labels[4:16, 20:40, 10:45] = 1
    labels[4:16, 20:40, 55:90] = 1
    labels[8:12, 26:34, 45:55] = 1
    maps = VolumeMaps.from_arrays(labels.astype("float32"), np.where(labels > 0, 0.8, 0))
    _, mask = segment(maps, [(9, 29, 25), (9, 27, 50)], [1, 0])
    assert not mask[9, 27, 50] and iou(mask, labels == 1) > 0.9


def test_a_painted_slice_that_fits_no_region_says_how_thick_the_object_is():
    labels = np.zeros((40, 60, 60), "uint32")
    labels[:, 5:55, 5:55] = 1
    painted = np.zeros((60, 60), bool)
    painted[20:32, 20:32] = True
    _, mask = segment(maps_of(labels), masks={20: ObjectMask.from_array(painted)})
    assert (mask[20] == painted).all() and mask.sum() < 3 * 12**3


def test_the_object_ends_at_the_slice_in_which_nothing_of_it_is_left():
    labels = np.zeros(SHAPE, "uint32")
    labels[:, 25:33, 30:38] = 1
    maps = maps_of(labels)
    masks = {15: ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))}
    found, mask = segment(maps, [(8, 29, 34)], masks=masks)
    assert mask[:15].any((1, 2)).all() and not mask[15:].any() and found.slices.stop == 15
    # a negative click does the same where it leaves a rim or nothing of the slice, or the object is not there
    _, mask = segment(MAPS, [(12, 30, 26), (18, 30, 28)], [1, 0])
    assert mask[17].any() and not mask[18:].any()
    _, mask = segment(MAPS, [(12, 30, 26), (20, 30, 28), (22, 30, 28)], [1, 0, 0])
    assert not mask[22:].any()


def test_a_painted_slice_is_kept_exactly_and_its_neighbours_follow():
    painted = np.zeros(SHAPE[1:], bool)
    painted[24:36, 10:34] = True
    _, before = segment(MAPS, [(12, 30, 26)])
    _, mask = segment(MAPS, [(12, 30, 26)], masks={12: ObjectMask.from_array(painted)})
    assert (mask[12] == painted).all()
    wider = (mask[13] & ~before[13]).sum(), (mask[11] & ~before[11]).sum()
    assert min(wider) > 20 and (mask[20] == before[20]).mean() > 0.98


def test_a_painted_slice_alone_says_which_object_is_meant():
    found, mask = segment(MAPS, masks={12: ObjectMask.from_array(TWO[12] == 2)})
    assert iou(mask, TWO == 2) > 0.85 and found.certainty[12 - found.box[0]] == 1


def test_boxes_in_a_slice_and_around_the_whole_object():
    _, flat = segment(MAPS, boxes={12: (21, 19, 40, 37)})
    _, whole = segment(MAPS, box=(3, 21, 19, 22, 40, 37))
    assert iou(flat, TWO == 1) > 0.8 and iou(whole, TWO == 1) > 0.8


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("flat", [False, True])
def test_in_a_box_around_two_touching_nuclei_a_negative_click_takes_the_one_it_lies_in(axis, flat):
    centres = np.full((2, 3), 22)
    centres[1, axis] = 38
    labels = balls(centres.tolist(), shape=(60, 60, 60))
    box = (*np.argwhere(labels > 0).min(0), *(np.argwhere(labels > 0).max(0) + 1))
    maps = maps_of(labels, flat=flat)
    for gone in (1, 2):
        for across, slices in ((0, 0), (3, 0), (0, 6), (0, -6)):  # how far from its middle, and from the box's slice
            place = centres[gone - 1].copy()
            place[(axis + 1) % 3] += across
            place[0] += slices if axis else 0
            flat_box = {int(centres[0, 0]): (*box[1:3], *box[4:])}
            for prompts in (dict(box=box), dict(boxes=flat_box)) if axis else (dict(box=box),):
                _, mask = segment(maps, [place], [0], **prompts)
                assert iou(mask, labels == 3 - gone) > 0.75


def test_what_belongs_to_a_click_rather_than_to_the_object_is_told_by_the_highest_ways():
    depth = np.zeros((1, 9, 60), "float32") + 0.3
    for x, height in ((8, 1.0), (30, 0.9), (36, 0.88), (50, 0.86)):
        depth[0, 4, x - 2 : x + 3] = height
    depth[0, 4, 33] = depth[0, 4, 39:48] = 0.7  # ridges from the second hill to the third and fourth
    depth[0, 4, 11:28] = 0.5  # and a lower one to the first
    regions = Regions(np.ones(depth.shape, "float32"), depth, 0.4)
    apart = regions.apart((0, 4, 30), [(0, 4, 8)], np.ones(depth.shape, bool))
    assert apart[0, 4, [30, 36, 50]].all() and not apart[0, 4, 8]
    assert regions.apart((0, 4, 30), [(0, 4, 30)], np.ones(depth.shape, bool)) is None


def test_a_negative_click_at_a_speck_takes_what_it_lies_deep_in():
    shape = (29, 60, 60)
    labels, speck = balls([(14, 30, 30)], 12, shape), balls([(14, 30, 36)], 1.5, shape)
    depth = 0.4 * maps_of(labels).read(tuple(slice(0, n) for n in shape))[1] + 0.3 * (speck > 0)
    maps = VolumeMaps.from_arrays((labels > 0).astype("float32"), depth)
    _, before = segment(maps, [(14, 30, 25)])
    _, mask = segment(maps, [(14, 30, 25), (14, 30, 36)], [1, 0])
    around = 4.19 * (42 - 36) ** 3  # the ball around the click within the object
    assert around < (before & ~mask).sum() < 0.5 * before.sum()


def test_a_negative_click_in_what_the_end_of_the_volume_cuts_off_leaves_the_object_whole():
    labels = balls([(12, 30, 20), (12, 30, 39)], 10, (24, 60, 41))  # half of the second is seen
    depth = maps_of(labels).read(tuple(slice(0, n) for n in labels.shape))[1]
    maps = VolumeMaps.from_arrays((labels > 0).astype("float32"), 0.75 + 0.05 * depth)
    _, mask = segment(maps, [(12, 30, 18), (12, 30, 34)], [1, 0])
    assert mask[labels == 1].mean() > 0.95 and mask[labels == 2].mean() < 0.05


def test_of_a_sheet_a_negative_click_near_its_outline_takes_no_half():
    labels = np.zeros((10, 80, 120), "uint32")
    labels[:, 12:68, 12:108] = 1  # all slices: every place half-way up is as deep as can be
    depth = np.where(labels > 0, 0.8, 0) - 0.1 * (np.abs(np.arange(120) - 60) < 4)  # two flat hills
    maps = VolumeMaps.from_arrays(labels.astype("float32"), depth)
    _, before = segment(maps, [(5, 40, 30)])
    _, mask = segment(maps, [(5, 40, 30), (4, 40, 103)], [1, 0])
    assert iou(before, labels == 1) > 0.9 and not mask[4, 40, 103] and (before & ~mask).sum() < 0.1 * before.sum()
    _, half = segment(maps, [(5, 40, 30), (4, 40, 88)], [1, 0])  # in the middle of the other hill
    assert not half[:, 20:60, 80:100].any() and half[:, 20:60, 20:50].all()


def test_what_hangs_on_by_a_thread_is_left_out():
    labels = np.zeros((30, 60, 60), "uint32")
    labels[(balls([(15, 30, 20)], 10, labels.shape) > 0) | (balls([(15, 30, 48)], 5, labels.shape) > 0)] = 1
    nucleus = labels.copy() * (np.arange(60) < 35)
    labels[14:16, 29:31, 25:48] = 1
    maps = VolumeMaps.from_arrays(labels.astype("float32"), np.where(labels > 0, 0.8, 0))
    _, mask = segment(maps, [(15, 30, 20)])
    assert iou(mask, nucleus > 0) > 0.9


@pytest.mark.parametrize("last", [True, False])
def test_a_negative_click_in_the_last_slices_ends_the_object_there(last):
    maps = maps_of(balls([(14, 30, 30)], 11, (29, 60, 60)))
    _, before = segment(maps, [(14, 30, 30)])
    z = int(np.flatnonzero(before.any((1, 2)))[-1 if last else 0])
    y, x = np.argwhere(before[z])[0]  # at its side
    _, mask = segment(maps, [(14, 30, 30), (z, y, x)], [1, 0])
    beyond = slice(z, None) if last else slice(0, z + 1)
    assert not mask[beyond].any() and mask[z - 1 if last else z + 1].any() and mask.sum() > 0.8 * before.sum()


def test_a_negative_click_at_the_side_of_a_middle_slice_ends_nothing():
    _, before = segment(MAPS, [(12, 30, 26)])
    _, mask = segment(MAPS, [(12, 30, 26), (14, 24, 24)], [1, 0])
    assert (mask.any((1, 2)) == before.any((1, 2))).all()


def test_a_box_keeps_a_large_object_of_few_slices_whole():
    labels = np.zeros((6, 60, 60), "uint32")
    for z, radius in enumerate((7, 12, 14, 14, 12, 7)):  # five times as far apart as the pixels, which nobody says
        labels[z] = balls([(0, 30, 30)], radius, (1, 60, 60))[0]
    _, mask = segment(maps_of(labels), box=(0, 14, 14, 6, 47, 47))
    assert iou(mask, labels > 0) > 0.85


def test_several_objects_at_once_share_no_voxel():
    prompts = [VolumePrompts([point], [1]) for point in ((12, 30, 26), (12, 30, 46))]
    first, second = (found.full(SHAPE) for found in segment_volume_objects(MAPS, prompts))
    assert iou(first, TWO == 1) > 0.8 and iou(second, TWO == 2) > 0.8 and not (first & second).any()


def test_empty_maps_give_nothing_and_say_what_to_do():
    maps = VolumeMaps.from_arrays(np.zeros(SHAPE), np.zeros(SHAPE))
    found, mask = segment(maps, [(5, 20, 30)])
    assert found.is_empty and not mask.any() and "paint a slice" in found.hint


def test_where_the_maps_show_nothing_a_painted_slice_becomes_a_rounded_object():
    maps = VolumeMaps.from_arrays(np.zeros(SHAPE), np.zeros(SHAPE))
    painted = balls([(12, 30, 28)])[12] > 0
    _, mask = segment(maps, masks={12: ObjectMask.from_array(painted)})
    assert (mask[12] == painted).all() and iou(mask, balls([(12, 30, 28)]) > 0) > 0.6


@pytest.mark.parametrize("spacing, n_slices", [(5.0, 12), (1.0, 3), (3.0, 1)])
def test_stacks_of_few_and_of_distant_slices(spacing, n_slices):
    middle = (n_slices - 1) / 2
    labels = balls([(middle, 30, 28), (middle, 30, 48)], 12, (n_slices, 60, 80), spacing)
    labels[:, :, 38] = 0
    _, mask = segment(maps_of(labels, spacing), [(int(middle), 29, 27)])
    assert iou(mask, labels == 1) > 0.75


@pytest.mark.parametrize(("pixels", "is_used"), [(4, True), (1, False)])
def test_the_model_sees_closer_than_maps_of_large_slices_and_says_what_of_them_is_the_object(pixels, is_used):
    shape = (10, 60, 80)
    truth = balls([(5, 30, 28), (5, 30, 60)], shape=shape)
    around = ndimage.binary_dilation(truth == 1, iterations=6)  # the maps take it for object, too, but less surely
    foreground = np.where(truth == 1, 1, np.where(around, 0.6, truth > 0)).astype("float32")
    depth = np.where(around, ndimage.distance_transform_edt(around), ndimage.distance_transform_edt(truth == 2)) / 16
    fine = np.kron(truth == 1, np.ones((1, pixels, pixels), bool))
    maps = VolumeMaps(MapGeometry(fine.shape, shape, side=fine.shape[2]))
    for z in range(shape[0]):
        maps.add(MapBlock(0, z), np.stack([foreground[z], depth[z]])[:, None])
    click = [(5, 30 * pixels, 28 * pixels)]
    plain, _ = segment(maps, click)
    found, mask = segment(maps, click, decoded={5: ObjectMask.from_array(fine[5])})
    assert iou(plain.full(fine.shape), fine) < 0.6
    if is_used:
        assert iou(mask, fine) > 0.75 and iou(mask[5], fine[5]) > 0.9
    else:
        np.testing.assert_array_equal(found.mask, plain.mask)


def test_maps_coarser_than_the_image_give_outlines_at_its_resolution():
    fine = np.kron(TWO, np.ones((1, 4, 4), "uint32"))
    geometry = MapGeometry(fine.shape, TWO.shape, side=fine.shape[2])
    maps = VolumeMaps(geometry)
    for z in range(len(TWO)):
        values = maps_of(TWO).read((slice(z, z + 1), slice(0, 60), slice(0, 80)))
        maps.add(MapBlock(0, z), np.stack(values))
    _, mask = segment(maps, [(12, 120, 105)])
    assert mask.shape == fine.shape and iou(mask, fine == 1) > 0.8
    painted = np.zeros(fine.shape[1:], bool)
    painted[91:150, 63:151] = True
    _, mask = segment(maps, [(12, 120, 105)], masks={12: ObjectMask.from_array(painted)})
    assert (mask[12] == painted).all()


@pytest.mark.parametrize(
    "prompts, message",
    [
        (dict(points=[(0, 0, 99)], labels=[1]), "outside the volume"),
        (dict(points=[(5, 5, 5)], labels=[0]), "no object to segment"),
        (dict(points=[(5, 5, 5)], labels=[2]), "needs a label"),
        (dict(points=[(5, np.nan, 5)], labels=[1]), "finite"),
        (dict(points=["abc"], labels=[1]), "numbers"),
        (dict(points=[(1, 2, 3), (1, 2)], labels=[1, 1]), "numbers"),
        (dict(boxes={30: (0, 0, 5, 5)}), "Slice 30"),
        (dict(boxes={3: (5, 5, 5, 9)}), "no area"),
        (dict(box=(0, 0, 0, 5)), "A box is"),
    ],
)
def test_prompts_that_cannot_work_are_refused_in_a_sentence(prompts, message):
    with pytest.raises(InputError, match=message):
        segment_volume_object(MAPS, VolumePrompts(**prompts))


def test_all_objects_at_once_and_thresholds_without_the_network():
    labels = balls([(12, 15, 18), (12, 30, 44), (6, 45, 65)], 8)
    maps = maps_of(labels)
    found = segment_volume(maps)
    assert found.max() == 3 and found.dtype == np.uint32
    assert all(iou(found == np.bincount(found[labels == k]).argmax(), labels == k) > 0.8 for k in (1, 2, 3))
    assert segment_volume(maps, min_size=10**6).max() == 0
    assert segment_volume(maps, foreground_threshold=0.9).astype(bool).sum() < found.astype(bool).sum()


def test_blocks_of_a_large_volume_join(monkeypatch):
    labels = np.zeros((60, 90, 90), "uint32")
    labels[5:55, 10:20, 10:80] = 1  # through blocks in all three directions
    labels[20:40, 25:85, 25:35] = 2
    labels[30:50, 50:60, 50:60] = 3  # within some
    labels[10:25, 60:72, 70:86] = 4  # across a corner
    maps = maps_of(labels)
    whole = segment_volume(maps)
    monkeypatch.setattr(labelling, "HALO", (4, 8, 8))
    for voxels in (1, 60_000, 200_000):
        monkeypatch.setattr(labelling, "BLOCK", voxels)
        assert len(labelling.plan_blocks(maps.geometry.work)) > 1
        joined = segment_volume(maps)
        assert joined.max() == whole.max() == 4
        assert all(iou(joined == np.bincount(joined[whole == k]).argmax(), whole == k) > 0.98 for k in range(1, 5))
        sizes = np.sort(np.bincount(whole.ravel())[1:])
        assert segment_volume(maps, min_size=int(sizes[:2].mean())).max() == 3


@pytest.mark.parametrize("work", [(30, 512, 512), (500, 512, 512), (200, 2048, 2048), (3, 9000, 9000), (4000, 40, 40)])
def test_blocks_cover_a_volume_once_and_stay_small(work):
    blocks = labelling.plan_blocks(work)
    sizes = [math.prod(side.stop - side.start for side in block) for block in blocks]
    assert sum(sizes) == math.prod(work) and max(sizes) <= labelling.BLOCK
    assert len({tuple(side.start for side in block) for block in blocks}) == len(blocks)


def test_a_volume_larger_than_memory_is_labelled_on_disc(monkeypatch):
    labels = balls([(12, 15, 18), (12, 30, 44), (6, 45, 65)], 8)
    whole = segment_volume(maps_of(labels))
    monkeypatch.setattr(volume_maps, "IN_MEMORY", 0)
    monkeypatch.setattr(labelling, "LARGEST_RESULT", 0)
    maps = maps_of(labels)
    found = segment_volume(maps)
    assert is_on_disc(found)
    np.testing.assert_array_equal(found, whole)
    click = VolumePrompts([(12, 15, 18)], [1])
    np.testing.assert_array_equal(
        segment_volume_object(maps, click).full(SHAPE), segment_volume_object(maps_of(labels), click).full(SHAPE)
    )
