"""An object is extended from the slices in which it is known to the volume."""

import numpy as np
import pytest
from oracle_stack import cone, masks_of, oracle_stack, painted
from segmentation_helpers import Oracle, iou

from micro_sam.errors import InputError
from micro_sam.segmentation.prompted.projection import PROJECTION_MODES
from micro_sam.segmentation.propagation import volume as propagation
from micro_sam.segmentation.propagation.volume import iter_propagate_volume, segment_mask_in_volume
from micro_sam.segmentation.values import ObjectMask

LABELS = cone()


def run(masks, labels=LABELS, **options):
    return list(iter_propagate_volume(Oracle(), oracle_stack(labels), masks, **options))


@pytest.mark.parametrize("projection", [*PROJECTION_MODES, "default"])
@pytest.mark.parametrize("shape", [(90, 130), (130, 90), (64, 64)])
def test_every_projection_follows_the_object_on_any_image_shape(projection, shape):
    labels = cone(shape=shape, centre=(shape[0] // 2, shape[1] // 2 + 3))
    steps = run(masks_of(labels, 5, [7]), labels, projection=projection, iou_threshold=0.5)
    assert iou(painted(steps, labels.shape), labels == 5) > 0.95


@pytest.mark.parametrize("tile_shape, halo", [((48, 48), (16, 16)), ((45, 200), (10, 10))])
def test_objects_that_cross_tiles_are_complete(tile_shape, halo):
    embeddings = oracle_stack(LABELS, tile_shape, halo)
    steps = iter_propagate_volume(Oracle(), embeddings, masks_of(LABELS, 5, [7]), iou_threshold=0.5)
    assert iou(painted(steps, LABELS.shape), LABELS == 5) > 0.95


def test_the_run_yields_prompts_then_gaps_then_outward_and_says_why_it_stopped():
    steps = run(masks_of(LABELS, 5, [5, 9]), iou_threshold=0.5)
    assert [step.z for step in steps] == [5, 9, 6, 8, 7, 4, 3, 2, 1, 10, 11, 12, 13]
    assert [step.source for step in steps[:3]] == ["prompt", "prompt", "propagated"]
    stops = [step for step in steps if step.source == "stop"]
    assert [step.z for step in stops] == [1, 13]
    assert all(step.mask is None and step.reason.endswith(".") for step in stops)


def test_a_sudden_change_ends_the_object_at_the_threshold():
    labels = LABELS.copy()
    labels[10:][labels[10:] == 5] = 0
    labels[10:, 45:55, 65:75] = 5  # the overlap with slice 9 drops to about a tenth
    masks = masks_of(labels, 5, [7])
    assert max(step.z for step in run(masks, labels, iou_threshold=0.8) if step.mask is not None) == 9
    assert max(step.z for step in run(masks, labels, iou_threshold=0.05) if step.mask is not None) == 14


@pytest.mark.parametrize("projection, reached", [("default", 5), ("single_point", 2)])
def test_before_an_object_ends_the_default_asks_again_with_other_prompts(monkeypatch, projection, reached):
    asked = []

    def project_mask(predictor, embeddings, z, mask, mode, **_):
        asked.append((z, mode))
        return mask, 0.9 if z <= 2 or (mode.use_box and mode.use_mask) else 0.3

    monkeypatch.setattr(propagation, "project_mask", project_mask)
    labels = np.zeros((6, 40, 50), "uint32")
    labels[:, 10:20, 10:30] = 1
    steps = run(masks_of(labels, 1, [0]), labels, projection=projection, iou_threshold=0.8)
    assert max(step.z for step in steps if step.mask is not None) == reached
    assert [z for z, _ in asked] == ([1, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5] if projection == "default" else [1, 2, 3])


def test_a_stop_bounds_the_run_on_its_side_only():
    steps = run(masks_of(LABELS, 5, [7]), stops=[4], iou_threshold=0.5)
    reached = [step.z for step in steps if step.mask is not None]
    assert min(reached) == 5 and max(reached) == 12


def test_a_stop_between_prompts_is_refused_before_anything_is_computed():
    with pytest.raises(InputError, match="Slice 6 is marked as a stop"):
        iter_propagate_volume(Oracle(), oracle_stack(LABELS), masks_of(LABELS, 5, [5, 8]), stops=[6])


def test_the_middle_of_an_even_gap_is_projected_from_the_union_of_both_sides():
    labels = np.zeros((3, 60, 80), "uint32")
    labels[0, 20:40, 20:36] = labels[2, 20:40, 30:46] = 1
    labels[1, 20:40, 20:46] = 1
    predictor = Oracle()
    steps = iter_propagate_volume(predictor, oracle_stack(labels), masks_of(labels, 1, [0, 2]), projection="box")
    middle = next(step for step in steps if step.z == 1)
    assert len(predictor.calls) == 1
    assert np.allclose(predictor.calls[0]["boxes"], [[20, 20, 40, 46]])
    assert middle.mask.box == (20, 20, 40, 46)


def test_gaps_are_interpolated_where_the_model_loses_the_object():
    labels = LABELS.copy()
    labels[5:8] = 0
    masks = masks_of(LABELS, 5, [3, 10])
    lost = {step.z: step for step in run(masks, labels, iou_threshold=0.5)}
    assert [lost[z].source for z in (4, 5, 6, 7, 8, 9)] == ["propagated", *["interpolated"] * 3, *["propagated"] * 2]
    assert all(iou(lost[z].mask.full(LABELS.shape[1:]), LABELS[z] == 5) > 0.7 for z in (5, 6, 7))
    never = {step.z: step for step in run(masks, labels, iou_threshold=0.5, interpolation="never")}
    assert all(never[z].mask is None for z in (5, 6, 7))


def test_interpolation_everywhere_asks_no_model_in_the_gap():
    predictor = Oracle()
    steps = iter_propagate_volume(
        predictor, oracle_stack(LABELS), masks_of(LABELS, 5, [3, 11]), interpolation="always", z_range=(3, 11)
    )
    assert {step.source for step in steps} == {"prompt", "interpolated"} and predictor.calls == []


def test_closing_the_generator_cancels_and_what_came_stays():
    steps = iter_propagate_volume(Oracle(), oracle_stack(LABELS), masks_of(LABELS, 5, [7]), iou_threshold=0.5)
    first = [next(steps) for _ in range(3)]
    steps.close()
    assert [step.z for step in first] == [7, 6, 5] and list(steps) == []


@pytest.mark.parametrize(
    "masks, options, message",
    [
        ({}, {}, "no object to extend"),
        ({3: ObjectMask((0, 0, 0, 0), np.zeros((0, 0), bool))}, {}, "empty in slice 3"),
        (masks_of(LABELS, 5, [7]), {"stops": [99]}, "Slice 99 is not in the volume"),
        (masks_of(LABELS, 5, [7]), {"projection": "circle"}, "single_point"),
        (masks_of(LABELS, 5, [7]), {"projection": {"use_box": False}}, "at least one true value"),
        (masks_of(LABELS, 5, [7]), {"interpolation": "maybe"}, "interpolation"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(masks, options, message):
    with pytest.raises(InputError, match=message):
        iter_propagate_volume(Oracle(), oracle_stack(LABELS), masks, **options)


# the function of the public library


def test_the_library_function_fills_the_volume_in_place_with_the_label_it_found():
    segmentation = np.zeros(LABELS.shape, "uint32")
    segmentation[7] = LABELS[7]
    progress = []
    result, (low, high) = segment_mask_in_volume(
        segmentation, Oracle(), oracle_stack(LABELS), np.array([7]), False, False, 0.5, "box", progress.append
    )
    assert result is segmentation and (low, high) == (2, 12)
    assert set(np.unique(result)) == {0, 5} and iou(result > 0, LABELS > 0) > 0.95
    assert sum(progress) >= 11


def test_stops_at_either_end_of_the_library_function():
    segmentation = np.zeros(LABELS.shape, "uint32")
    segmentation[7] = LABELS[7]
    args = (Oracle(), oracle_stack(LABELS))
    _, (low, high) = segment_mask_in_volume(segmentation.copy(), *args, np.array([7]), True, False, 0.5, "mask")
    assert (low, high) == (7, 12)
    _, (low, high) = segment_mask_in_volume(segmentation.copy(), *args, np.array([4, 7]), True, False, 0.5, "mask")
    assert (low, high) == (5, 12)
    with pytest.raises(InputError, match="stop"):
        segmentation[10] = LABELS[10]
        segment_mask_in_volume(segmentation, *args, np.array([7, 8, 10]), False, False, 0.5, "mask")


def test_a_volume_of_another_length_is_refused():
    with pytest.raises(InputError, match="9 slices"):
        segment_mask_in_volume(LABELS[:9].copy(), Oracle(), oracle_stack(LABELS), [7], False, False, 0.5, "box")


@pytest.mark.slow
def test_the_shipped_model_extends_a_click_through_generated_nuclei(predictor):
    from micro_sam.embeddings.compute import precompute_image_embeddings
    from micro_sam.sample_data import open_sample
    from micro_sam.segmentation.prompted.segment import segment_objects
    from micro_sam.segmentation.values import Prompts

    sample = open_sample("nuclei_volume")
    image, labels = sample.image[6:22, :128, :96], sample.labels[6:22, :128, :96]
    embeddings = precompute_image_embeddings(predictor, image, ndim=3, verbose=False)
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    scores = []
    for value in ids[np.argsort(counts)[-2:]]:
        z = int(np.median(np.nonzero((labels == value).any((1, 2)))[0]))
        centre = np.argwhere(labels[z] == value).mean(0)
        start = segment_objects(predictor, Prompts(points=centre[None], labels=[1]), embeddings, z)[0]
        steps = iter_propagate_volume(predictor, embeddings, {z: start}, iou_threshold=0.6)
        scores.append(iou(painted(steps, labels.shape), labels == value))
    assert np.mean(scores) > 0.6


def seen(value, background=40, shape=(15, 90, 130), slices=range(4, 10), colours=False, noise=4.0):
    """A disc in some slices of a noisy stack, and its mask."""
    y, x = np.ogrid[: shape[1], : shape[2]]
    disc = (y - 50) ** 2 + (x - 70) ** 2 <= 18**2
    image = np.random.default_rng(0).normal(background, noise, shape)
    for z in slices:
        image[z][disc] += value - background
    image = np.repeat(image[..., None], 3, -1) if colours else image
    return image.clip(0, 255).astype("uint8"), ObjectMask.from_array(disc)


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("value, background", [(120, 40), (20, 90)])
def test_an_object_ends_where_it_does_not_stand_out_whatever_the_model_says(monkeypatch, value, background, colours):
    monkeypatch.setattr(propagation, "project_mask", lambda predictor, embeddings, z, mask, mode, **_: (mask, 1.0))
    image, disc = seen(value, background, colours=colours)
    embeddings = oracle_stack(LABELS)
    assert {s.z for s in iter_propagate_volume(Oracle(), embeddings, {6: disc}) if s.mask is not None} == set(range(15))
    embeddings.image = image
    steps = list(iter_propagate_volume(Oracle(), embeddings, {6: disc}))
    assert {s.z for s in steps if s.mask is not None} == set(range(4, 10))
    stops = [s for s in steps if s.source == "stop"]
    assert [s.z for s in stops] == [3, 10] and all("stand out" in s.reason for s in stops)


@pytest.mark.parametrize("value", [40, 41])
def test_an_object_that_never_stood_out_is_followed_as_the_model_says(monkeypatch, value):
    monkeypatch.setattr(propagation, "project_mask", lambda predictor, embeddings, z, mask, mode, **_: (mask, 1.0))
    embeddings = oracle_stack(LABELS)
    embeddings.image, disc = seen(value)
    assert {s.z for s in iter_propagate_volume(Oracle(), embeddings, {6: disc}) if s.mask is not None} == set(range(15))


@pytest.mark.parametrize("size", [(90, 130), (1, 130), (90, 1), (1, 1)])
def test_objects_as_large_as_the_slice_and_as_small_as_a_pixel_are_judged(monkeypatch, size):
    monkeypatch.setattr(propagation, "project_mask", lambda predictor, embeddings, z, mask, mode, **_: (mask, 1.0))
    embeddings = oracle_stack(LABELS)
    embeddings.image, _ = seen(120)
    mask = np.zeros((90, 130), bool)
    mask[: size[0], : size[1]] = True
    steps = list(iter_propagate_volume(Oracle(), embeddings, {6: ObjectMask.from_array(mask)}))
    assert 6 in {s.z for s in steps if s.mask is not None}


def test_only_the_surroundings_of_an_object_are_read(monkeypatch):
    monkeypatch.setattr(propagation, "project_mask", lambda predictor, embeddings, z, mask, mode, **_: (mask, 1.0))
    read = []

    class Lazy:
        shape = (15, 90, 130)

        def __getitem__(self, place):
            read.append(place)
            return image[place]

    image, disc = seen(120)
    embeddings = oracle_stack(LABELS)
    embeddings.image = Lazy()
    list(iter_propagate_volume(Oracle(), embeddings, {6: disc}))
    assert len(read) == 9  # twice where it is known, 5 others with the object, and the first without it on each side
    assert all(rows.stop - rows.start < 60 and columns.stop - columns.start < 60 for _, rows, columns in read)
