"""``micro_sam.instance_segmentation`` of micro-sam 1.8; labels beside those that 1.8.14 gave."""

from pathlib import Path

import known
import numpy as np
import pytest
import torch

import micro_sam.instance_segmentation as ins
from micro_sam.automatic_segmentation import automatic_instance_segmentation, get_predictor_and_segmenter
from micro_sam.compat.decoders import with_own_statistics
from micro_sam.embeddings.compute import precompute_image_embeddings
from micro_sam.errors import CacheError, InputError, ModelError
from micro_sam.models.build import build_model
from micro_sam.models.modules.unetr_decoder import UNETRDecoder
from micro_sam.models.predictor import Predictor

REFERENCE = np.load(Path(__file__).parent / "reference.npz")


def same_objects(a, b):
    """Whether two label images show the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([a.ravel().astype(int), b.ravel().astype(int)]), axis=1)
    return pairs.shape[1] == len(np.unique(a)) == len(np.unique(b))


def overlap(labels, mask):
    """IoU of a true mask with the object that covers most of it."""
    inside = labels[mask]
    best = np.bincount(inside[inside > 0], minlength=1).argmax()
    return ((labels == best) & mask).sum() / ((labels == best) | mask).sum() if best else 0


@pytest.fixture(scope="module")
def with_distances(predictor):
    """A segmenter with a decoder as 1.8 trains it; nano models have maps and seeds of their own."""
    return ins.InstanceSegmentationWithDecoder(predictor, ins.DecoderAdapter(UNETRDecoder()))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", known.THRESHOLDS)
def test_labels_from_maps_are_those_of_1_8(with_distances, name, seed):
    segmenter = with_distances
    segmenter.set_state(known.maps(seed))
    labels = segmenter.generate(**known.THRESHOLDS[name])
    assert labels.max() > 5 and same_objects(labels, REFERENCE[f"labels_{name}_{seed}"])


def test_a_decoder_gives_the_maps_of_1_8():
    decoder = UNETRDecoder()
    shapes = {name: tuple(value.shape) for name, value in decoder.state_dict().items()}
    decoder.load_state_dict(known.weights(shapes, 1.7))
    features = torch.tensor(np.random.default_rng(1).standard_normal((1, 256, 8, 8)), dtype=torch.float32)
    with torch.no_grad():
        maps = ins.DecoderAdapter(with_own_statistics(decoder.eval()))(features, (1024, 1024), (64, 64))
    assert np.abs(maps[0, :, ::4, ::4].numpy() - REFERENCE["map_small"]).max() < 1e-4


@pytest.mark.slow
def test_a_fine_tuned_checkpoint_gives_the_automatic_result_of_1_8(tmp_path):
    """From the pixels to the labels; see `known.py` for what 1.8.14 makes of the position biases of a vit_t."""
    sam = build_model("vit_t")
    shapes = {name: tuple(value.shape) for name, value in sam.state_dict().items()}
    model = {f"sam.{name}": value for name, value in known.weights(shapes).items()}
    shapes = {name: tuple(value.shape) for name, value in ins.get_unetr(sam.image_encoder).state_dict().items()}
    decoder = known.weights({name: shape for name, shape in shapes.items() if not name.startswith("encoder.")}, 1.7)
    torch.save({"model_state": model, "decoder_state": decoder}, tmp_path / "best.pt")
    own, segmenter = get_predictor_and_segmenter("vit_t", tmp_path / "best.pt", "cpu", segmentation_mode="ais")
    embeddings = precompute_image_embeddings(own, known.discs(), ndim=2, verbose=False)
    found = embeddings["features"][0, ::16, ::8, ::8]
    assert np.abs(found - REFERENCE["tuned_features"]).max() < 1e-4  # of values about 1
    assert 0.01 < np.abs(found - REFERENCE["tuned_features_as_loaded"]).max() < 0.05
    low = known.LOW_THRESHOLDS
    labels = automatic_instance_segmentation(own, segmenter, known.discs(), ndim=2, verbose=False, **low)
    for key, values in segmenter.get_state().items():
        assert np.abs(values[::10, ::10] - REFERENCE[f"tuned_{key}"]).max() < 1e-3
    for found, name in ((labels, "tuned_labels"), (segmenter.generate(), "tuned_labels_default")):
        assert same_objects(found, REFERENCE[name]) and found.max() >= 5


@pytest.mark.parametrize("mode", ["amg", "ais", "apg", None])
@pytest.mark.parametrize("is_tiled", [False, True])
def test_every_mode_finds_the_objects_and_takes_up_its_state(predictor, blobs, mode, is_tiled):
    image, truth = blobs
    tiles = {"tile_shape": (96, 112), "halo": (40, 40)} if is_tiled else {}
    kwargs = {"points_per_side": 8} if mode == "amg" else {}
    segmenter = ins.get_instance_segmentation_generator(predictor, is_tiled, None, mode, **kwargs)
    segmenter.initialize(image, **tiles)
    thresholds = {"pred_iou_thresh": 0.6, "stability_score_thresh": 0.8} if mode == "amg" else {"min_size": 100}
    labels = segmenter.generate(**thresholds)
    assert labels.shape == image.shape and segmenter.is_initialized
    assert labels.max() >= 3
    if not (is_tiled and mode == "apg"):  # objects that fill a third of what the small model sees are drawn badly
        assert sum(overlap(labels, truth == value) > 0.6 for value in range(1, 5)) >= 3
    if not is_tiled:
        again = ins.get_instance_segmentation_generator(predictor, is_tiled, None, mode, **kwargs)
        again.set_state(segmenter.get_state())
        assert np.array_equal(again.generate(**thresholds), labels)
    records = segmenter.generate(output_mode="binary_mask", **thresholds)
    assert len(records) >= 3 and records[0]["segmentation"].shape == image.shape


def test_predictor_and_decoder_make_a_segmenter(predictor, embeddings, blobs):
    own, decoder = ins.get_predictor_and_decoder("nano_lm", device="cpu")
    assert isinstance(decoder, ins.DecoderAdapter)
    for kind in (ins.InstanceSegmentationWithDecoder, ins.AutomaticPromptGenerator):
        assert kind(own, decoder).predictor is own
        assert isinstance(kind(own, decoder), ins.AMGBase)
    out = np.zeros(blobs[0].shape, "uint64")
    segmenter = ins.InstanceSegmentationWithDecoder(predictor, ins.DecoderAdapter(predictor.model.dense_head))
    segmenter.initialize(blobs[0], embeddings, ndim=2)
    assert segmenter.generate(segmentation=out, tile_shape=(64, 64), halo=(8, 8), n_threads=2) is out and out.max() >= 4


def test_a_unetr_is_encoder_and_decoder():
    sam = build_model("nano")
    unetr = ins.get_unetr(torch.nn.Conv2d(3, 256, 16, 16), device="cpu")
    with torch.no_grad():
        maps = unetr(torch.rand(1, 3, 64, 64))
        features = unetr.encoder(torch.rand(1, 3, 64, 64))
        adapted = ins.get_decoder(unetr.encoder, unetr.state_dict(), "cpu")(features, (48, 64), (30, 40))
    assert maps.shape == (1, 3, 64, 64) and adapted.shape == (1, 3, 30, 40)
    with pytest.raises(ModelError, match="do not fit|not a decoder"):
        ins.get_unetr(sam.image_encoder, {"a": torch.zeros(1)})
    with pytest.raises(InputError, match="final sigmoid"):
        ins.get_unetr(sam.image_encoder, final_activation=None)


def test_what_cannot_be_is_said(predictor):
    from micro_sam.models.sam import Sam

    own = predictor.model
    bare = Predictor(Sam(own.image_encoder, own.prompt_encoder, own.mask_decoder, None, "nano"))
    for kind in (ins.InstanceSegmentationWithDecoder, ins.AutomaticPromptGenerator):
        with pytest.raises(InputError, match="get_amg"):
            kind(bare)
    with pytest.raises(InputError, match='"amg", "ais" or "apg"'):
        ins.get_instance_segmentation_generator(predictor, False, segmentation_mode="sam")
    with pytest.raises(InputError, match="mask generator"):
        ins.get_instance_segmentation_generator(predictor, False, segmentation_mode="ais", points_per_side=3)
    segmenter = ins.InstanceSegmentationWithDecoder(predictor)
    with pytest.raises(CacheError, match="foreground"):
        segmenter.set_state({"masks": 1})
    with pytest.raises(InputError, match="one slice"):
        segmenter.initialize(np.zeros((8, 8)), ndim=3)
    with pytest.raises(InputError, match="comes from get_decoder"):
        ins.InstanceSegmentationWithDecoder(predictor, torch.nn.Identity())


def test_prompts_of_ones_own_are_refused_with_the_way_to_use_them(predictor, embeddings, blobs):
    segmenter = ins.AutomaticPromptGenerator(predictor)
    segmenter.initialize(blobs[0], embeddings)
    with pytest.raises(InputError, match="batched_inference"):
        segmenter.generate(prompt_function=print)
    refined = segmenter.generate(refine_with_box_prompts=True, multimasking=True, use_boxes=False, batch_size=2)
    assert refined.max() >= 3


def test_tiles_have_classes_of_their_own(predictor, blobs):
    _, decoder = ins.get_predictor_and_decoder("nano_lm", device="cpu")
    for kind in (ins.TiledInstanceSegmentationWithDecoder, ins.TiledAutomaticPromptGenerator):
        segmenter = kind(predictor, decoder)
        segmenter.initialize(blobs[0], tile_shape=(96, 112), halo=(40, 40), verbose=False)
        assert isinstance(segmenter, ins.AMGBase) and segmenter.generate(min_size=100).max() >= 3
