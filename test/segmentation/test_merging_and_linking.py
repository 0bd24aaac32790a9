"""Slices become volumes, frames become tracks."""

import time

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.io.label_arrays import is_on_disc
from micro_sam.io.tracks import load_tracks
from micro_sam.multi_dimensional_segmentation import merge_instance_segmentation_3d, track_across_frames
from micro_sam.sample_data import open_sample
from micro_sam.segmentation import stacks
from micro_sam.segmentation.propagation.frame_linking import FrameObjects, link_frames
from micro_sam.segmentation.stacks import lineages_of, track_labels
from micro_sam.segmentation.volume import merging
from micro_sam.segmentation.volume.merging import number_per_slice, overlaps


def scrambled(labels, seed=0):
    """The same objects, with numbers that mean nothing from slice to slice."""
    random = np.random.default_rng(seed)
    result = np.zeros_like(labels)
    for z, plane in enumerate(labels):
        ids = np.unique(plane)[1:]
        for i, k in zip(ids, random.permutation(len(ids)) + 1, strict=True):
            result[z][plane == i] = k
    return result


def same_objects(a, b):
    """Whether two label images differ in their numbers only."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()], 1), axis=0)
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))


def test_slices_of_a_volume_are_merged_without_error():
    labels = open_sample("nuclei_volume").labels
    merged = merge_instance_segmentation_3d(scrambled(labels), verbose=False)
    assert merged.dtype == np.uint32 and same_objects(merged, labels)


def test_two_objects_of_a_slice_are_never_one():
    labels = np.zeros((3, 30, 60), np.uint32)
    labels[0, 5:25, 5:55] = 1
    labels[1, 5:25, 5:30], labels[1, 5:25, 31:55] = 1, 2
    labels[2, 5:25, 5:55] = 1
    merged = merge_instance_segmentation_3d(labels, verbose=False)
    assert merged[1, 10, 10] != merged[1, 10, 50]


def test_gaps_are_closed_and_short_objects_left_out():
    labels = open_sample("nuclei_volume").labels.copy()
    labels[14] = 0
    merged = merge_instance_segmentation_3d(scrambled(labels), gap_closing=1, min_z_extent=3, verbose=False)
    whole = merge_instance_segmentation_3d(scrambled(labels), verbose=False)
    assert merged.max() < whole.max() and merged[14].any()
    extents = [len(np.unique(np.nonzero(merged == i)[0])) for i in np.unique(merged)[1:]]
    assert min(extents) >= 3


def test_objects_that_share_pixels_are_found_with_their_areas():
    random = np.random.default_rng(0)
    for dtype in (np.uint32, np.int64, np.uint8):
        a, b = (np.kron(random.integers(0, 60, (20, 30)), np.ones((4, 5), int)).astype(dtype) for _ in range(2))
        b[:7] = 0
        pairs, iou, inside = overlaps(a, b)
        expected = sorted({(int(i), int(j)) for i, j in zip(a.ravel(), b.ravel(), strict=True) if i and j})
        assert pairs.tolist() == [list(pair) for pair in expected]
        for (i, j), over_union, over_smaller in zip(expected, iou, inside, strict=True):
            shared, sizes = np.sum((a == i) & (b == j)), (np.sum(a == i), np.sum(b == j))
            assert over_union == shared / (sum(sizes) - shared) and over_smaller == shared / min(sizes)
    assert [len(one) for one in overlaps(a, np.zeros_like(b))] == [0, 0, 0]
    assert [len(one) for one in overlaps(a[:0], b[:0])] == [0, 0, 0]


def test_objects_of_slices_are_numbered_in_their_order():
    labels = np.array([[[7, 7, 0], [2, 7, 300]], [[0, 0, 0], [0, 0, 0]], [[7, 0, 7], [0, 7, 7]]])
    nodes, slice_of = number_per_slice(labels)
    assert nodes.tolist() == [[[2, 2, 0], [1, 2, 3]], [[0, 0, 0], [0, 0, 0]], [[4, 0, 4], [0, 4, 4]]]
    assert slice_of.tolist() == [-1, 0, 0, 0, 2]


def test_without_background_every_pixel_belongs_to_an_object():
    labels = np.zeros((2, 20, 20), np.uint32)
    labels[:, :10] = 1
    merged = merge_instance_segmentation_3d(labels, with_background=False, verbose=False)
    assert merged.min() == 1 and merged.max() == 2


@pytest.mark.parametrize("mode", ["greedy", "optimal"])
def test_tracks_and_divisions_are_found_in_a_segmentation_of_another_tool(mode):
    sample = open_sample("dividing_cells")
    tracks, rows = track_labels(scrambled(sample.labels), mode=mode)
    assert same_objects(tracks, sample.labels)
    number = {
        row.track_id: int(tracks[row.start][sample.labels[row.start] == row.track_id][0]) for row in sample.tracks
    }
    expected = {(number[row.track_id], row.start, row.end, number.get(row.parent, 0)) for row in sample.tracks}
    assert {(row.track_id, row.start, row.end, row.parent) for row in rows} == expected


def test_mothers_point_to_daughters(tmp_path):
    sample = open_sample("dividing_cells")
    tracks, lineages = track_across_frames(sample.image, scrambled(sample.labels), output_folder=tmp_path / "tracks")
    first = {i: np.nonzero((tracks == i).any((1, 2)))[0].min() for lineage in lineages for i in lineage}
    assert set(first) == set(np.unique(tracks)[1:].tolist())
    assert sum(len(ids) == 2 for lineage in lineages for ids in lineage.values()) == 4
    for lineage in lineages:
        assert all(first[daughter] > first[mother] for mother, ids in lineage.items() for daughter in ids)
        assert all(daughter in lineage for ids in lineage.values() for daughter in ids)
    saved = load_tracks(tmp_path / "tracks")
    assert np.array_equal(saved.labels, tracks) and lineages_of(saved.rows) == lineages


def test_an_object_that_is_missing_for_a_frame_keeps_its_track():
    labels = np.zeros((6, 40, 60), np.uint32)
    for t in range(6):
        labels[t, 10:20, 5 + 3 * t : 15 + 3 * t] = 1
    labels[3] = 0
    assert len(track_labels(labels)[1]) == 2
    tracks, rows = track_labels(labels, gap_closing=1)
    assert len(rows) == 1 and (rows[0].start, rows[0].end) == (0, 5) and (tracks[3] == 1).sum() > 50


def test_short_lineages_are_left_out():
    labels = np.zeros((6, 40, 60), np.uint32)
    labels[:, 5:15, 5:15] = 1
    labels[2:4, 25:35, 25:35] = 2
    tracks, rows = track_labels(labels, min_time_extent=3)
    assert len(rows) == 1 and tracks.max() == 1


def test_nothing_in_nothing_out():
    empty = np.zeros((3, 20, 30), np.uint32)
    assert not merge_instance_segmentation_3d(empty, verbose=False).any()
    tracks, rows = track_labels(empty)
    assert rows == [] and not tracks.any()


def test_arguments_that_cannot_work_are_refused():
    labels = np.zeros((3, 20, 30), np.uint32)
    with pytest.raises(InputError, match="beta"):
        merge_instance_segmentation_3d(labels, beta=1.0)
    with pytest.raises(InputError, match="shape"):
        merge_instance_segmentation_3d(labels[0])
    with pytest.raises(InputError, match="mode"):
        track_across_frames(None, labels, mode="best")
    with pytest.raises(InputError, match="label series has the shape"):
        track_across_frames(np.zeros((4, 20, 30)), labels)


@pytest.mark.slow
def test_the_shipped_model_segments_a_volume_and_tracks_a_movie_by_itself(predictor):
    from micro_sam.multi_dimensional_segmentation import automatic_3d_segmentation, automatic_tracking
    from micro_sam.segmentation.automatic.dense import get_segmenter

    segmenter = get_segmenter(predictor, False)
    volume = open_sample("nuclei_volume")
    found = automatic_3d_segmentation(
        volume.image[8:16], predictor, segmenter, gap_closing=1, min_z_extent=2, verbose=False
    )
    truth = volume.labels[8:16]
    assert found.shape == truth.shape and found.dtype == np.uint32
    assert ((found > 0) & (truth > 0)).sum() > 0.6 * (truth > 0).sum()

    movie = open_sample("dividing_cells")
    tracks, lineages, embeddings = automatic_tracking(
        movie.image[:6], predictor, segmenter, verbose=False, return_embeddings=True
    )
    assert embeddings.n_slices == 6
    assert {i for lineage in lineages for i in lineage} == set(np.unique(tracks)[1:].tolist())


def crowded_frames(n: int) -> list[FrameObjects]:
    """Three frames of n cells that stay, and n / 3 that appear in each frame, as dense for all n."""
    rng = np.random.default_rng(0)
    side = 20 * n**0.5
    stay, frames = rng.uniform(0, side, (n, 2)), []
    for _ in range(3):
        centres = np.concatenate([stay + rng.normal(0, 1, stay.shape), rng.uniform(0, side, (n // 3, 2))])
        frames.append(FrameObjects(np.arange(1, len(centres) + 1), centres, rng.uniform(50, 150, len(centres))))
    return frames


def test_looking_for_divisions_costs_as_many_times_more_as_there_are_cells():
    def cost(n):
        frames, times = crowded_frames(n), []
        for _ in range(3):  # the quickest: what else the processor does makes some slower
            before = time.process_time()
            assert link_frames(frames).parents
            times.append(time.process_time() - before)
        return min(times)

    assert cost(4800) < 3 * 8 * cost(600)


def test_stacks_larger_than_memory_are_merged_and_linked_on_disc(monkeypatch):
    labels = np.zeros((12, 60, 80), "uint32")
    for z in range(12):
        labels[z, 5:25, 5 + z : 25 + z] = 1 + z % 2
        if z not in (5, 6):
            labels[z, 35:55, 40:60] = 7
    in_memory = merge_instance_segmentation_3d(labels, gap_closing=2, verbose=False), track_labels(labels)
    for room in (merging, stacks):
        monkeypatch.setattr(room, "LARGEST_RESULT", 0)
    merged, (tracks, rows) = merge_instance_segmentation_3d(labels, gap_closing=2, verbose=False), track_labels(labels)
    assert is_on_disc(merged) and is_on_disc(tracks)
    np.testing.assert_array_equal(merged, in_memory[0])
    np.testing.assert_array_equal(tracks, in_memory[1][0])
    assert rows == in_memory[1][1] and merged[5, 45, 50] == merged[0, 45, 50] > 0
