"""Upscaling in a box, precision, batches, threads, and what importing the models brings in."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from micro_sam.errors import InputError
from micro_sam.models import frames
from micro_sam.models.modules.architectures import make_dense_head, make_mask_decoder
from micro_sam.models.modules.nano import NanoEncoder
from micro_sam.models.modules.prompt_encoder import PromptEncoder
from micro_sam.models.predictor import ImageFeatures, Predictor
from micro_sam.models.sam import Sam
from micro_sam.models.sizes import resized_size


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(Sam.from_architecture("nano"))


@pytest.mark.parametrize("image_size", [512, 1024])
@pytest.mark.parametrize("original_size", [(512, 512), (1024, 1024), (300, 777), (2000, 1500), (50, 20)])
def test_upscaling_in_a_box_gives_the_pixels_of_full_upscaling(original_size, image_size):
    rng = np.random.default_rng(0)
    input_size = resized_size(original_size, image_size)
    logits = torch.randn(3, 256, 256)
    full = frames.upscale_logits(logits, image_size, input_size, original_size)
    assert full.shape == (3, *original_size)
    height, width = original_size
    boxes = [(0, 0, height, width), (0, 0, 1, 1), (height - 1, width - 1, height, width)]
    for _ in range(12):
        (y0, y1), (x0, x1) = np.sort(rng.integers(0, height, 2)), np.sort(rng.integers(0, width, 2))
        boxes.append((y0, x0, y1 + 1, x1 + 1))
    for box in boxes:
        part = frames.upscale_logits_in_box(logits, image_size, input_size, original_size, box)
        expected = full[:, box[0] : box[2], box[1] : box[3]]
        assert part.shape == expected.shape
        differs = (part > 0) != (expected > 0)
        assert (expected[differs].abs() < 1e-4).all()
        torch.testing.assert_close(part, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("image_size", [512, 1024])
@pytest.mark.parametrize("original_size", [(512, 512), (300, 777), (2000, 1500), (50, 20)])
def test_the_foreground_box_holds_every_pixel_of_the_mask(original_size, image_size):
    rng = np.random.default_rng(1)
    input_size = resized_size(original_size, image_size)
    low = np.ceil(np.array(input_size) * 256 / image_size).astype(int)
    for _ in range(10):
        logits = torch.full((256, 256), -0.01)
        y, x = rng.integers(0, low[0]), rng.integers(0, low[1])
        logits[y : y + 3, x : x + 5] = 50.0
        mask = frames.upscale_logits(logits[None], image_size, input_size, original_size)[0] > 0
        box = frames.foreground_box(logits, image_size, input_size, original_size)
        outside = mask.clone()
        outside[box[0] : box[2], box[1] : box[3]] = False
        assert not outside.any()
    assert frames.foreground_box(torch.full((256, 256), -1.0), image_size, input_size, original_size) is None


def test_a_box_outside_the_image_is_refused(predictor):
    image = ImageFeatures(torch.zeros(1, 128, 64, 64), (512, 400), (100, 78))
    for box in ((0, 0, 101, 78), (-1, 0, 5, 5), (5, 5, 5, 9)):
        with pytest.raises(InputError, match="box"):
            predictor.upscale(torch.zeros(1, 256, 256), image, box)


def test_a_batch_of_images_of_different_sizes_gives_the_features_of_each(predictor):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((64, 64), (90, 40))]
    batch = predictor.encode_batch(images)
    assert predictor.encode_batch([]) == []
    for image, features in zip(images, batch, strict=True):
        alone = predictor.encode(image)
        assert features.original_size == image.shape[:2] and features.input_size == alone.input_size
        assert features.features.dtype == torch.float32 and features.features.shape == (1, 128, 64, 64)
        assert features.dense.shape == (4, 256, 256)
        torch.testing.assert_close(features.features, alone.features, atol=1e-4, rtol=0)
        torch.testing.assert_close(features.dense, alone.dense, atol=1e-4, rtol=0)


def test_half_precision_is_close_to_full_and_its_results_are_float32():
    torch.manual_seed(0)
    prompt_encoder, mask_decoder = PromptEncoder(128, (8, 8), (64, 64)), make_mask_decoder("nano")
    model = Sam(NanoEncoder(64), prompt_encoder, mask_decoder, make_dense_head("nano"), "nano")
    full, half = Predictor(model), Predictor(model, precision="bf16")
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    full_features, half_features = full.encode(image), half.encode(image)
    assert half_features.features.dtype == half_features.dense.dtype == torch.float32
    assert relative_error(half_features.features, full_features.features) < 0.05
    prompts = {"points": np.array([[[50.0, 60.0]], [[20.0, 10.0]]]), "labels": np.ones((2, 1))}
    for prompt in (prompts, prompts | {"mask_input": np.zeros((2, 1, 32, 32))}):
        a = full.decode(full_features, **prompt, multimask_output=True)
        b = half.decode(full_features, **prompt, multimask_output=True)
        assert b.low_res_logits.dtype == b.scores.dtype == torch.float32
        assert relative_error(b.low_res_logits, a.low_res_logits) < 0.05
    with pytest.raises(InputError, match="precision"):
        Predictor(model, precision="int4")


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def test_threads_that_share_a_predictor_get_the_masks_that_each_gets_alone(predictor):
    generator = torch.Generator().manual_seed(0)
    images = [ImageFeatures(torch.randn(1, 128, 64, 64, generator=generator), (512, 512), (512, 512)) for _ in range(6)]
    prompt = {"points": np.array([[[100.0, 200.0]]]), "labels": np.ones((1, 1))}
    expected = [predictor.decode(image, **prompt).low_res_logits for image in images]
    fresh = Predictor(predictor.model)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda image: fresh.decode(image, **prompt).low_res_logits, images * 3))
    for result, wanted in zip(results, expected * 3, strict=True):
        torch.testing.assert_close(result, wanted, atol=1e-4, rtol=0)


def test_importing_the_models_brings_in_nothing_that_breaks_an_open_window():
    code = (
        "import sys, numpy as np\n"
        "from micro_sam.models.predictor import Predictor\n"
        "from micro_sam.models.sam import Sam\n"
        "p = Predictor(Sam.from_architecture('nano'))\n"
        "p.set_image(np.zeros((40, 30, 3), np.uint8))\n"
        "p.predict(np.array([[5, 5]]), np.array([1]))\n"
        "bad = {'torchvision', 'triton', 'segment_anything', 'napari', 'qtpy', 'PyQt5', 'PyQt6', 'timm'}\n"
        "print(sorted(bad & {name.split('.')[0] for name in sys.modules}))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
