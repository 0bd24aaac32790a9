"""``micro_sam.automatic_segmentation`` with the calls of micro-sam 1.8."""

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import zarr

from micro_sam import automatic_segmentation
from micro_sam.errors import InputError
from micro_sam.instance_segmentation import InstanceSegmentationWithDecoder
from micro_sam.io.images import open_image
from micro_sam.multi_dimensional_segmentation import automatic_3d_segmentation
from micro_sam.segmentation.automatic.dense import DenseInstanceSegmenter
from micro_sam.segmentation.automatic.masks import AutomaticMaskGenerator


def test_a_mode_chooses_the_segmenter(predictor):
    choose = automatic_segmentation.get_predictor_and_segmenter
    for arguments, kind in (
        ({"segmentation_mode": "amg", "points_per_side": 4}, AutomaticMaskGenerator),
        ({"amg": True}, AutomaticMaskGenerator),
        ({"segmentation_mode": "ais", "points_per_side": 4}, InstanceSegmentationWithDecoder),
        ({"amg": False}, InstanceSegmentationWithDecoder),
        ({}, DenseInstanceSegmenter),
    ):
        own, segmenter = choose("nano_lm", predictor=predictor, **arguments)
        assert own is predictor and type(segmenter) is kind
    assert isinstance(choose("nano_lm", None, "cpu", True, points_per_side=2)[1], AutomaticMaskGenerator)


def test_an_image_is_segmented_with_the_arguments_of_1_8(predictor, blobs, folder, tmp_path):
    own, segmenter = automatic_segmentation.get_predictor_and_segmenter(
        "nano_lm", segmentation_mode="ais", predictor=predictor
    )
    labels, embeddings = automatic_segmentation.automatic_instance_segmentation(
        predictor=own,
        segmenter=segmenter,
        input_path=folder / "images" / "a.tif",
        output_path=tmp_path / "out.tif",
        embedding_path=tmp_path / "a.zarr",
        ndim=2,
        verbose=False,
        return_embeddings=True,
        batch_size=2,
        center_distance_threshold=0.6,
        min_size=50,
    )
    assert labels.max() == 4 and np.array_equal(imageio.imread(tmp_path / "out.tif"), labels)
    assert "features" in embeddings and (tmp_path / "a.zarr").exists()


def test_labels_keep_the_size_of_a_pixel(predictor, blobs, tmp_path):
    small = blobs[0][:64, :64]
    options = {"imagej": True, "resolution": (4, 2)}
    tifffile.imwrite(tmp_path / "plane.tif", small, **options, metadata={"axes": "YX", "unit": "um"})
    tifffile.imwrite(
        tmp_path / "movie.tif",
        np.stack([small] * 2),
        **options,
        metadata={"axes": "TYX", "unit": "um", "finterval": 30},
    )
    _, segmenter = automatic_segmentation.get_predictor_and_segmenter("nano_lm", predictor=predictor)
    for name, scale in (("plane", (0.5, 0.25)), ("movie", (1.0, 0.5, 0.25))):  # seconds are no distance of slices
        automatic_segmentation.automatic_instance_segmentation(
            predictor, segmenter, tmp_path / f"{name}.tif", tmp_path / f"{name}_labels.tif", verbose=False
        )
        assert open_image(tmp_path / f"{name}_labels.tif").scale == scale


def test_a_movie_in_a_file_with_five_axes_is_tracked(predictor, blobs, tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=np.stack([blobs[0][:64, :64]] * 2)[:, None, None])
    group.attrs["multiscales"] = [{"version": "0.4", "axes": [*"tczyx"], "datasets": [{"path": "0"}]}]
    _, segmenter = automatic_segmentation.get_predictor_and_segmenter("nano_lm", predictor=predictor)
    labels, _ = automatic_segmentation.automatic_tracking(predictor, segmenter, tmp_path / "a.zarr", verbose=False)
    assert labels.shape == (2, 64, 64)
    volume = automatic_3d_segmentation(open_image(tmp_path / "a.zarr"), predictor, segmenter, verbose=False)
    assert volume.shape == (2, 64, 64)


def test_outside_of_a_mask_nothing_is_segmented(predictor, blobs):
    image, mask = blobs[0], np.zeros(blobs[0].shape, bool)
    mask[:80, :104] = True
    _, segmenter = automatic_segmentation.get_predictor_and_segmenter(
        "nano_lm", segmentation_mode="ais", is_tiled=True, predictor=predictor
    )
    labels = automatic_segmentation.automatic_instance_segmentation(
        predictor, segmenter, image, mask_path=mask, tile_shape=(80, 104), halo=(20, 20), ndim=2, verbose=False
    )
    assert labels[:80, :104].any() and not labels[80:].any() and not labels[:, 104:].any()


def test_annotating_ones_own_weights_says_how(predictor):
    own = type("Own", (), {"model_name": "mine"})()
    with pytest.raises(InputError, match="checkpoint_path"):
        automatic_segmentation.automatic_instance_segmentation(own, None, np.zeros((8, 8)), annotate=True)
