"""The maps of a volume are computed in blocks, the region in focus first, kept, resumed and never mixed up."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from oracle_stack import cone, oracle_stack
from segmentation_helpers import Oracle, iou

from micro_sam.automatic_segmentation import automatic_instance_segmentation
from micro_sam.embeddings.compute import iter_embeddings, open_embeddings, precompute_image_embeddings
from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.embeddings.tiles import TileGrid
from micro_sam.errors import CacheError, InputError, NotComputedYet
from micro_sam.multi_dimensional_segmentation import automatic_3d_segmentation, segment_object_in_volume
from micro_sam.prompt_based_segmentation import segment_from_box, segment_from_points
from micro_sam.segmentation.automatic.dense import get_segmenter
from micro_sam.segmentation.automatic.masks import get_amg
from micro_sam.segmentation.prompted.segment import segment_objects
from micro_sam.segmentation.values import Prompts
from micro_sam.segmentation.volume import automatic
from micro_sam.segmentation.volume.automatic import iter_segment_volume, segment_stack
from micro_sam.segmentation.volume.compute import iter_volume_maps
from micro_sam.segmentation.volume.geometry import MapBlock, plan_geometry
from micro_sam.segmentation.volume.keeping import keep_automatic
from micro_sam.segmentation.volume.maps import open_volume_maps
from micro_sam.segmentation.volume.object import segment_volume_object
from micro_sam.segmentation.volume.values import VolumePrompts

SHAPE = (14, 40, 48)


@pytest.fixture(scope="module")
def stack():
    """Two bright balls in noise: image, labels."""
    z, y, x = np.ogrid[tuple(slice(0, n) for n in SHAPE)]
    labels = np.zeros(SHAPE, "uint32")
    for value, (cy, cx) in enumerate([(20, 13), (19, 35)], 1):
        labels[(z - 7) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= 36] = value
    image = np.random.default_rng(0).normal(20, 3, SHAPE) + 120 * (labels > 0)
    return np.clip(image, 0, 255).astype("uint8"), labels


@pytest.fixture(scope="module")
def kept(predictor, stack, tmp_path_factory):
    """A cache with all features and maps, for copying."""
    path = tmp_path_factory.mktemp("volume") / "cache.zarr"
    embeddings, store = open_embeddings(predictor, stack[0], path, ndim=3)
    assert len(list(iter_embeddings(predictor, stack[0], store))) == SHAPE[0]
    steps = list(keep_automatic(predictor, embeddings, (1, 1, 1)))
    assert steps[0][:2] == (0, sum(SHAPE)) and steps[-1][:2] == (sum(SHAPE), sum(SHAPE)) and steps[-1][2] == ""
    return path


@pytest.fixture
def embeddings(predictor, stack, kept, tmp_path):
    shutil.copytree(kept, tmp_path / "copy.zarr")
    return open_embeddings(predictor, stack[0], tmp_path / "copy.zarr", ndim=3)[0]


def whole(maps):
    return np.stack(maps.read(tuple(slice(0, n) for n in maps.geometry.work)))


def marks(embeddings):
    return sorted((embeddings.store.path / "state" / "volume").glob("*/checksum_y"))[0]


@pytest.mark.parametrize(
    "shape, scale, axes, note",
    [
        ((60, 100, 90), (1, 1, 1), (0, 1, 2), ""),
        ((60, 100, 90), (2.5, 1, 1), (0, 1, 2), ""),
        ((60, 100, 90), (5, 1, 1), (0,), "5 pixels apart"),
        ((60, 100, 90), (0.2, 1, 1), (0,), "apart"),
        ((60, 100, 90), (3, 1.5, 0.5), (0, 2), "along y"),
        ((3, 100, 90), (1, 1, 1), (0,), "3 voxels thick"),
        ((60, 100, 90), None, (0,), "not known"),
        ((60, 100, 90), (0, 1, 1), (0,), "cannot be right"),
        ((60, 100, 90), (np.nan, 1, 1), (0,), "cannot be right"),
        ((60, 100, 90), (1e6, 1, 1), (0,), "cannot be right"),
        ((60, 100, 90), (1, 1), (0,), "cannot be right"),
    ],
)
def test_directions_are_taken_where_the_voxels_allow_it_and_what_is_left_out_is_said(shape, scale, axes, note):
    geometry = plan_geometry(shape, 512, 256, TileGrid(shape[1:]), scale)
    assert geometry.axes == axes and note in geometry.note and bool(note) == bool(geometry.note)
    assert geometry.work == shape


@pytest.mark.parametrize(
    "shape, tile", [((30, 1024, 900), None), ((400, 300, 200), None), ((40, 2000, 1500), (384, 384))]
)
def test_the_blocks_of_every_direction_cover_the_maps_once(shape, tile):
    geometry = plan_geometry(shape, 512, 256, TileGrid(shape[1:], tile, tile and (64, 64)), (1, 1, 1))
    for axis in geometry.axes:
        seen = np.zeros(geometry.work, "uint8")
        for block in geometry.blocks():
            if block.axis == axis:
                seen[geometry.area(block)] += 1
        assert (seen == 1).all()


def test_maps_are_found_again_and_show_the_objects(predictor, stack, embeddings):
    maps = open_volume_maps(predictor, embeddings)  # the voxel size is known from what is kept
    assert maps.is_complete and maps.is_ready() and maps.geometry.axes == (0, 1, 2)
    foreground, depth = whole(maps)
    inside = stack[1] > 0
    assert foreground[inside].mean() > 2 * foreground[~inside].mean()
    found = segment_volume_object(maps, VolumePrompts([(7, 20, 13)], [1])).full(SHAPE)
    assert iou(found, stack[1] == 1) > 0.5
    assert list(iter_volume_maps(predictor, embeddings, maps)) == []


def test_a_killed_run_goes_on_where_it_stopped_and_ends_the_same(predictor, stack, embeddings):
    before = whole(open_volume_maps(predictor, embeddings))
    shutil.rmtree(embeddings.store.path / "state" / "volume")
    maps = open_volume_maps(predictor, embeddings, (1, 1, 1))
    run = iter_volume_maps(predictor, embeddings, maps)
    done = [next(run) for _ in range(20)]
    run.close()
    again = open_volume_maps(predictor, embeddings, (2, 2, 2))  # the same voxels in another unit
    assert again.progress == (20, sum(SHAPE))
    rest = list(iter_volume_maps(predictor, embeddings, again))
    assert len(rest) == sum(SHAPE) - 20 and not set(rest) & set(done)
    np.testing.assert_array_equal(whole(again), before)


def test_a_torn_block_counts_as_missing(predictor, embeddings):
    chunk = marks(embeddings).parent / "y_0" / "3.0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-5] + b"wrong")
    (marks(embeddings).parent / "x_0" / "5.0.0.0").unlink()
    maps = open_volume_maps(predictor, embeddings)
    assert set(maps.missing()) == {MapBlock(1, 3), MapBlock(2, 5)}
    assert set(iter_volume_maps(predictor, embeddings, maps)) == {MapBlock(1, 3), MapBlock(2, 5)}
    assert open_volume_maps(predictor, embeddings).is_complete


@pytest.mark.parametrize("name, axis", [("z_0", 0), ("checksum_y", 1)])
def test_maps_whose_description_is_damaged_are_made_again(predictor, embeddings, name, axis):
    folder = marks(embeddings).parent / name
    text = (folder / ".zarray").read_text()
    for broken in (text[: len(text) // 2], text.replace(str(SHAPE[axis]), "7")):  # with 7 planes, these are still found
        (folder / ".zarray").write_text(broken)
        maps = open_volume_maps(predictor, embeddings)
        assert {block.axis for block in maps.missing()} == {axis}
        assert {block.axis for block in iter_volume_maps(predictor, embeddings, maps)} == {axis}
        assert open_volume_maps(predictor, embeddings).is_complete


def test_another_model_is_refused_and_another_voxel_size_has_maps_of_its_own(predictor, embeddings):
    other = SimpleNamespace(model=predictor.model, model_name="mine", model_hash="f" * 64)
    with pytest.raises(CacheError, match="mine"):
        open_volume_maps(other, embeddings)
    assert open_volume_maps(predictor, embeddings, (2, 1, 1)).progress[0] == 0
    assert open_volume_maps(predictor, embeddings, (1, 1, 1)).is_complete
    embeddings.store.normalization = replace(embeddings.store.normalization, smoothing=3.0)
    assert open_volume_maps(predictor, embeddings, (1, 1, 1)).progress[0] == 0


def test_the_cache_still_opens_and_its_features_are_unchanged(predictor, stack, embeddings):
    again, store = open_embeddings(predictor, stack[0], embeddings.store.path, ndim=3)
    assert store.missing() == [] and again["features"].shape[0] == SHAPE[0]


def test_the_region_in_focus_comes_first(predictor, embeddings):
    shutil.rmtree(embeddings.store.path / "state" / "volume")
    maps = open_volume_maps(predictor, embeddings, (1, 1, 1))
    run = iter_volume_maps(predictor, embeddings, maps, focus=lambda: (7, 30, 40))
    first = [next(run) for _ in range(14 + 15 + 15)]  # what lies within 8 voxels
    assert {block.axis for block in first} == {0, 1, 2}
    assert all(abs(block.plane - (7, 30, 40)[block.axis]) < 9 for block in first)
    assert not maps.is_ready() and maps.is_ready((slice(6, 8), slice(29, 31), slice(39, 41)))


def test_slices_that_are_not_embedded_yet_are_left_for_later(predictor, stack):
    embeddings, store = open_embeddings(predictor, stack[0][:3], ndim=3)
    run = iter_embeddings(predictor, stack[0][:3], store)
    next(run)
    maps = open_volume_maps(predictor, embeddings)
    with pytest.raises(NotComputedYet, match="2 slices"):
        list(iter_volume_maps(predictor, embeddings, maps))
    assert maps.progress == (1, 3)
    list(run)
    assert len(list(iter_volume_maps(predictor, embeddings, maps))) == 2 and maps.is_complete


def test_without_the_image_slices_along_z_are_all_there_is(predictor, embeddings):
    shutil.rmtree(embeddings.store.path / "state" / "volume")
    maps = open_volume_maps(predictor, as_embeddings(embeddings.store.path), (1, 1, 1))
    assert maps.geometry.axes == (0,) and "not the image" in maps.note


def test_colour_stacks_have_maps_along_all_axes(predictor, stack):
    image = np.repeat(stack[0][..., None], 3, -1)
    embeddings, store = open_embeddings(predictor, image, ndim=3)
    maps = open_volume_maps(predictor, embeddings, (1, 1, 1))
    assert maps.geometry.axes == (0, 1, 2)
    window = (slice(7, 8), slice(20, 21), slice(13, 14))
    for _ in iter_embeddings(predictor, image, store, focus=lambda: 7):
        break
    assert len(list(iter_volume_maps(predictor, embeddings, maps, window=window))) == 3
    assert maps.read(window)[0].item() > 0.3


def test_a_script_gets_the_whole_object_and_computes_only_what_it_needs(predictor, stack, embeddings):
    mask, certainty = segment_object_in_volume(predictor, embeddings, [(7, 20, 13)], return_all=True)
    assert mask.shape == SHAPE and mask.dtype == bool and iou(mask, stack[1] == 1) > 0.5
    assert ((certainty > 0) == mask.any((1, 2))).all()
    painted = stack[1][7] == 1
    exact = segment_object_in_volume(predictor, embeddings, masks={7: painted}, boxes={6: (13, 6, 27, 20)})
    assert (exact[7] == painted).all()
    with pytest.raises(InputError, match="method"):
        segment_object_in_volume(predictor, embeddings, [(7, 20, 13)], method="magic")
    with pytest.raises(InputError, match="shape"):
        segment_object_in_volume(predictor, embeddings, masks={7: painted[:5]})
    inside = segment_object_in_volume(predictor, embeddings, boxes=(-9, 6, 20, 99, 27, 7))
    assert inside.any()  # corners in any order, and partly outside
    for wrong, message in (
        (dict(boxes="all"), "Boxes are"),
        (dict(boxes={None: (1, 1, 5, 5)}), "number of their slice"),
        (dict(boxes={6: (1, np.nan, 5, 5)}), "box in slice 6"),
        (dict(masks=painted), "Masks are a mapping"),
        (dict(masks={6.5: painted}), "number of their slice"),
        (dict(masks={7: np.where(painted, 1.0, np.nan)}), "finite"),
        (dict(points=[(7, 20, 13)], scale="um"), "size of a voxel"),
    ):
        with pytest.raises(InputError, match=message):
            segment_object_in_volume(predictor, embeddings, **wrong)


@pytest.mark.parametrize("method", ["auto", "propagation"])
def test_a_model_without_dense_head_propagates(method):
    labels = cone()
    embeddings = oracle_stack(labels)
    mask, certainty = segment_object_in_volume(Oracle(), embeddings, [(7, 50, 70)], method=method, return_all=True)
    assert iou(mask, labels == 5) > 0.5 and certainty[7] > 0
    ended = segment_object_in_volume(Oracle(), embeddings, [(7, 50, 70), (9, 50, 70)], [1, 0], method=method)
    assert ended[8].any() and not ended[9:].any()
    with pytest.raises(InputError, match="no dense head"):
        segment_object_in_volume(Oracle(), embeddings, [(7, 50, 70)], method="maps")


def test_automatic_volumes_come_from_the_maps_and_thresholds_ask_no_network(
    predictor, stack, kept, tmp_path, monkeypatch
):
    shutil.copytree(kept, tmp_path / "copy.zarr")
    segmenter = get_segmenter(predictor)
    monkeypatch.setattr(type(predictor), "encode_dense", lambda *_: pytest.fail("the network was asked"))
    options = {"embedding_path": tmp_path / "copy.zarr", "verbose": False, "scale": (1, 1, 1)}
    found = automatic_3d_segmentation(stack[0], predictor, segmenter, **options)
    assert found.shape == SHAPE and found.dtype == np.uint32
    assert iou(found == found[7, 20, 13], stack[1] == 1) > 0.5
    assert automatic_3d_segmentation(stack[0], predictor, segmenter, min_size=10**6, **options).max() == 0
    again = automatic_instance_segmentation(predictor, segmenter, stack[0], ndim=3, **options)
    np.testing.assert_array_equal(again, found)
    embeddings = open_embeddings(predictor, stack[0], tmp_path / "copy.zarr", ndim=3)[0]
    steps = iter_segment_volume(predictor, embeddings, (1, 1, 1), min_size=10**6)
    assert next(steps) == (sum(SHAPE) + 1, sum(SHAPE) + SHAPE[0])


def test_slices_are_merged_when_asked_for_or_when_maps_cannot_do_it(predictor, stack, kept, tmp_path, monkeypatch):
    shutil.copytree(kept, tmp_path / "copy.zarr")
    embeddings = open_embeddings(predictor, stack[0], tmp_path / "copy.zarr", ndim=3)[0]
    segmenter = get_segmenter(predictor)
    asked = []
    monkeypatch.setattr(automatic, "segment_slices", lambda *_, **given: asked.append(given) or stack[1])
    for options in ({"method": "slices"}, {"smoothing": 2.0}, {"with_background": False}):
        assert segment_stack(segmenter, embeddings, **options).max() >= 2
    assert len(asked) == 3 and asked[1] == {"smoothing": 2.0}
    assert segment_stack(get_amg(predictor, False), embeddings).max() == 2 and len(asked) == 4
    with pytest.raises(InputError, match="know nothing of smoothing"):
        segment_stack(segmenter, embeddings, "maps", smoothing=2.0)
    with pytest.raises(InputError, match="no dense head"):
        segment_stack(get_amg(Oracle(), False), oracle_stack(cone()), "maps")


def test_what_a_mask_left_out_stays_without_objects(predictor, stack):
    mask = np.ones(SHAPE, bool)
    mask[8:] = False
    segmenter = get_segmenter(predictor)
    found = automatic_instance_segmentation(
        predictor, segmenter, stack[0], ndim=3, mask_path=mask, scale=(1, 1, 1), verbose=False
    )
    assert found[4:8].any((1, 2)).all() and not found[8:].any()


def test_scripts_get_what_the_window_gets(predictor, stack, embeddings):
    point = np.array([[20, 13]])
    window = segment_objects(predictor, Prompts(point, [1]), embeddings, 7)[0]
    mask, scores, logits = segment_from_points(predictor, point, [1], embeddings, i=7, return_all=True)
    np.testing.assert_array_equal(mask[0], window.full(SHAPE[1:]))
    assert scores[0] == pytest.approx(window.score) and logits.shape == (1, 256, 256)
    box = (13, 6, 27, 20)
    window = segment_objects(predictor, Prompts(boxes=[box]), embeddings, 7)[0]
    np.testing.assert_array_equal(segment_from_box(predictor, box, embeddings, i=7)[0], window.full(SHAPE[1:]))
    plain = segment_from_points(predictor, point, [1], as_embeddings(embeddings.store.path), i=7)
    np.testing.assert_array_equal(segment_from_points(predictor, point, [1], embeddings, i=7, close_ups=False), plain)
    informed = as_embeddings(as_embeddings(embeddings.store.path), stack[0])
    np.testing.assert_array_equal(segment_from_points(predictor, point, [1], informed, i=7), mask)


def test_propagation_in_scripts_takes_no_close_up_of_every_slice(predictor, monkeypatch):
    z, y, x = np.ogrid[:5, :512, :512]
    image = np.random.default_rng(0).normal(20, 3, (5, 512, 512))
    labels = (y - 200) ** 2 + (x - 300) ** 2 + 9 * (z - 2) ** 2 <= 18**2
    image[labels] += 120
    embeddings = precompute_image_embeddings(predictor, np.clip(image, 0, 255).astype("uint8"), ndim=3, verbose=False)
    passes, encode = [], predictor.encode_close_up
    monkeypatch.setattr(predictor, "encode_close_up", lambda pixels: passes.append(1) or encode(pixels))
    mask = segment_object_in_volume(predictor, embeddings, [(2, 200, 300)], method="propagation")
    assert iou(mask, labels) > 0.7 and mask.any((1, 2)).all()
    assert 1 <= len(passes) <= 2  # the click's own
