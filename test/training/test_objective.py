"""The parts of a training step: crops, targets, prompts, losses, windows."""

import numpy as np
import pytest
import torch

from micro_sam.models.build import build_model, get_sam_model
from micro_sam.training import losses, prompts
from micro_sam.training.batches import Batch, PromptSettings, ask, collate
from micro_sam.training.corrections import correct, inner_depth
from micro_sam.training.crops import Crop, CropSettings, TrainingImage, draw_crop
from micro_sam.training.objective import Objective, ObjectiveSettings
from micro_sam.training.synthetic import synthetic_image
from micro_sam.training.targets import dense_targets
from micro_sam.training.windows import cut, encode_windows


@pytest.fixture
def picture() -> TrainingImage:
    image, labels = synthetic_image(np.random.default_rng(3), (160, 200), "nuclei")
    return TrainingImage(image, labels, "picture")


def two_sizes() -> TrainingImage:
    """One large object beside forty small ones."""
    labels = np.zeros((200, 200), np.int32)
    labels[100:180, 100:180] = 1
    for number in range(40):
        y, x = 4 + 9 * (number // 20), 4 + 9 * (number % 20)
        labels[y : y + 5, x : x + 5] = number + 2
    return TrainingImage(np.zeros((200, 200, 3), np.uint8), labels)


def test_crop_has_the_frame_and_consecutive_labels(picture):
    settings = CropSettings(size=128, frame=512, step=8)
    for seed in range(20):
        crop = draw_crop(np.random.default_rng(seed), picture, settings)
        assert crop.image.shape == (3, 128, 128) and crop.labels.shape == crop.valid.shape == (128, 128)
        assert np.isfinite(crop.image).all() and 0 <= crop.image.min() and crop.image.max() <= 255
        ids = np.unique(crop.labels)
        assert np.array_equal(ids[ids > 0], np.arange(1, crop.labels.max() + 1))
        assert all(0 <= o <= 512 - 128 and o % 8 == 0 for o in crop.origin)
        assert not crop.labels[~crop.valid].any()


def test_small_and_large_objects_both_count():
    picture = two_sizes()
    chosen = [draw_crop(np.random.default_rng(s), picture, CropSettings(128, natural=1.0)) for s in range(60)]
    large = sum(np.bincount(c.labels.ravel())[1:].max(initial=0) > 1000 for c in chosen)
    assert 5 < large < 55  # by their number alone it would be one in forty
    ids = [prompts.draw_targets(np.random.default_rng(s), picture.labels, 1)[0] for s in range(100)]
    assert 5 < sum(i == 1 for i in ids) < 50


def test_small_objects_are_also_learned_as_they_look_in_close_ups():
    labels = np.zeros((512, 512), np.int32)
    labels[100:110, 200:210] = 1
    picture = TrainingImage(np.zeros((512, 512, 3), np.uint8), labels)

    def areas(**settings):
        chosen = CropSettings(256, natural=1.0, augment=False, **settings)
        return [int((draw_crop(np.random.default_rng(s), picture, chosen).labels > 0).sum()) for s in range(40)]

    assert max(areas()) <= 100
    mixed = areas(close_up=50.0)
    assert 5 < sum(area > 1500 for area in mixed) < 35 and any(0 < area <= 100 for area in mixed)
    assert max(areas(close_up=10.0)) <= 100  # large enough as it is


def test_dense_targets_of_a_square():
    labels = np.zeros((32, 32), np.int32)
    labels[8:24, 8:24] = 1
    targets = dense_targets(labels)
    assert targets.distance.max() == 1 and not targets.distance[targets.labels == 0].any()
    assert targets.distance[8, 8] > 0.8 and targets.distance[4, 4] < 0.4
    assert np.allclose(targets.offset[:, 4, 11], [7, -7])  # from the upper right corner to the centre, in pixels
    assert np.allclose(targets.radius[8, 8], 16 / np.sqrt(np.pi))


def test_touching_objects_have_a_boundary_between_them():
    labels = np.ones((16, 32), np.int32)
    labels[:, 16:] = 2
    distance = dense_targets(labels, 1).distance
    assert distance[8, 15] < 0.5 and distance[8, 16] < 0.5 and distance[8, 8] > 0.85


def make_batch(rng: np.random.Generator, crops: list[Crop], objects: int = 6) -> Batch:
    settings = PromptSettings(objects=objects)
    chosen = settings.choose(rng, crops[0].labels.shape[0])
    asked = [{kind: ask(rng, crop, kind, *of, settings) for kind, of in chosen.items()} for crop in crops]
    return collate(crops, asked, settings)


def test_correction_goes_to_the_largest_error():
    target, found = torch.zeros(2, 40, 40, dtype=torch.bool)
    target[5:35, 5:20] = True
    found[5:35, 5:35] = True
    predicted = torch.stack([found, torch.zeros_like(target), target])
    targets = target.expand(3, -1, -1)
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        places, labels = correct(predicted, targets, torch.ones_like(targets), generator)
        assert labels.tolist() == [0, 1, 1]  # too much, all is missing, nothing is wrong: one more inside
        x, y = places.long().T
        assert found[y[0], x[0]] and not target[y[0], x[0]] and target[y[1:], x[1:]].all()


def test_correction_ignores_what_lies_outside_of_the_image():
    target, valid = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    target[0, 4:10, 4:10], valid[0, :, :16] = True, True
    places, labels = correct(torch.ones_like(target), target, valid, torch.Generator().manual_seed(0))
    assert labels.tolist() == [0] and places[0, 0] < 16


def test_depth_counts_pixels_to_the_border_of_a_mask_and_of_the_image():
    mask = torch.zeros(40, 60, dtype=torch.bool)
    mask[:30, 10:51] = True
    depth = inner_depth(mask[None, None])[0, 0]
    assert depth[0, 30] == 1 and depth[14, 30] == depth[15, 30] == depth.max() == 15 and depth[29, 30] == 1
    assert depth[14, 11] == 2 and not depth[~mask].any()


def test_windows_of_maps_and_their_gradients():
    maps = torch.rand(3, 5, 12, 12, dtype=torch.float64, requires_grad=True)
    index, corner = torch.tensor([2, 0, 2]), torch.tensor([[0, 4], [7, 7], [1, 4]])
    taken = cut(maps, index, corner, 5)
    expected = torch.stack([maps[i, :, y : y + 5, x : x + 5] for i, (y, x) in zip(index, corner.tolist(), strict=True)])
    assert torch.equal(taken, expected)
    weights = torch.rand_like(taken)
    found, right = (
        torch.autograd.grad((each * weights).sum(), maps, retain_graph=True)[0] for each in (taken, expected)
    )
    assert torch.allclose(found, right)


def test_perfect_masks_have_the_smallest_loss():
    target = torch.zeros(1, 16, 16)
    target[:, 4:9, 4:9] = 1
    valid = torch.ones_like(target)
    right, empty = (2 * target - 1) * 9, torch.full_like(target, -9)
    logits = torch.stack([right, empty, -right], 1)
    values = losses.mask_loss(logits, target, valid)[0]
    assert values[0] < 0.01 < values[1] < values[2]
    assert losses.mask_iou(logits, target, valid)[0].tolist() == [1.0, 0.0, 0.0]


def test_windows_see_what_the_whole_frame_sees():
    """Features of a window, at its place in the frame, agree with those of the frame away from the window's border."""
    sam = get_sam_model("nano_lm", device="cpu", return_sam=True)[1]
    centres = torch.zeros(1, 2, 32, 32)
    sam.image_encoder.cen = torch.nn.Module()  # the code of the position itself: no offset to a centre
    sam.image_encoder.cen.forward = lambda trunk: centres[..., : trunk.shape[-2], : trunk.shape[-1]]
    sam.image_encoder.trunk = lambda pixels: torch.zeros(1, sam.embed_dim, 32, 32)
    sam.image_encoder.img_size = 512
    with torch.no_grad():
        moved = encode_windows(sam, torch.zeros(1, 3, 256, 256), torch.tensor([[64.0, 128.0]])).features
        still = encode_windows(sam, torch.zeros(1, 3, 256, 256), torch.tensor([[0.0, 0.0]])).features
        assert torch.allclose(moved[..., 0, 0], still[..., 8, 16], atol=1e-4)
        assert torch.allclose(
            still, sam.image_encoder.add_centre_code(torch.zeros(1, sam.embed_dim, 32, 32)), atol=1e-4
        )


@pytest.mark.parametrize("complete", [True, False])
def test_every_part_of_the_model_learns(picture, complete):
    sam = build_model("nano")
    source = TrainingImage(picture.image, picture.labels, complete=complete)
    rng = np.random.default_rng(0)
    crops = [draw_crop(rng, source, CropSettings(128)) for _ in range(2)]
    batch = make_batch(rng, crops)
    loss, figures = Objective(sam, ObjectiveSettings(rounds=(2, 2), previous_mask=1.0))(rng, batch)
    loss.backward()
    assert torch.isfinite(loss) and {"dense", "iou_click0", "iou_box1"} <= figures.keys()
    silent = {name.split(".")[0] for name, p in sam.named_parameters() if p.grad is not None and p.grad.any()}
    assert silent == {"image_encoder", "prompt_encoder", "mask_decoder", "dense_head"}


def test_image_without_objects_in_the_crop_is_no_error():
    empty = TrainingImage(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int32))
    rng = np.random.default_rng(0)
    crops = [draw_crop(rng, empty, CropSettings(128))]
    loss, _ = Objective(build_model("nano"), ObjectiveSettings())(rng, make_batch(rng, crops))
    assert torch.isfinite(loss)
