"""How fast the models are beside segment_anything (and MobileSAM), on this machine.

    python benchmarks/speed.py [--quick] [--precision fp32 bf16] [--threads N] [--device cpu] [--output speed.json]
    python benchmarks/speed.py --profile "vit_b decoder"     # which operations take the time of these tasks
    python benchmarks/speed.py --backends onnx openvino      # image encoders in other runtimes, beside PyTorch
    python benchmarks/speed.py --compare old.json new.json   # what has become slower; exit code 1 if anything has

Both sides run in one process with the same random weights, in turns, so that whatever else the machine does hits both.
Stock runs with malloc as it comes, ours with the settings of our programs (``--same-malloc``: both with ours).
Reported are medians of CPU seconds and wall seconds (on a GPU: wall), the ratio stock / ours with the range of the
ratios of single turns, and the memory that a call needs at its peak beyond what the process held before (Linux).

A random model's masks are noise all over the image, which no real mask is. Where a measurement goes on to the mask at
full resolution, the decoder's work is real and the mask is a disc of a sixth of the image. Automatic masks are those of
the shipped model on a sample image, for both sides.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from measuring import (
    HEADER,
    OpProfile,
    Result,
    compare,
    format_row,
    malloc_as_it_comes,
    other_conditions,
    regressions,
    write_report,
)
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from micro_sam.errors import InputError, ModelError
from micro_sam.io.normalization import estimate_normalization, to_rgb_uint8
from micro_sam.models.backends import BACKENDS, check_backend
from micro_sam.models.build import get_sam_model
from micro_sam.models.malloc import keep_memory
from micro_sam.models.predictor import ImageFeatures, Predictor
from micro_sam.models.sam import Sam
from micro_sam.models.stock import to_segment_anything
from micro_sam.sample_data import open_sample
from micro_sam.segmentation.automatic.masks import AutomaticMaskGenerator

GRID_SIDE = 8  # clicks along each side in the measurement of automatic masks
# of predicted IoU and stability in that measurement: the small model passes few of the usual ones
THRESHOLDS = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}


@dataclass(frozen=True)
class Task:
    """Something that both sides can do."""

    name: str
    stock: Callable[[], object]
    ours: Callable[[], object]
    turns: int
    units: int = 1
    warm_up: bool = True


def random_pair(architecture: str, device: str, precision: str) -> tuple[Predictor, SamPredictor]:
    """Our predictor and the stock one, with the same random weights."""
    torch.manual_seed(0)
    sam = Sam.from_architecture(architecture)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    sam.decode_window = None  # the stock decoder looks at the whole image
    predictor = Predictor(sam, device=device, precision=precision)
    return predictor, SamPredictor(to_segment_anything(sam))


def random_features(predictor: Predictor, size: int) -> ImageFeatures:
    """Features of an image of size x size that no encoder made."""
    model = predictor.model
    features = torch.randn(1, model.embed_dim, model.grid_size, model.grid_size, device=predictor.device)
    return ImageFeatures(features, (model.image_size,) * 2, (size, size))


def disc(shape: tuple[int, int, int]) -> torch.Tensor:
    """Logits (M, l, l) of a disc with a diameter of a sixth of the side."""
    y, x = torch.meshgrid(torch.arange(shape[1]), torch.arange(shape[2]), indexing="ij")
    radius = ((y - shape[1] / 2) ** 2 + (x - shape[2] / 2) ** 2).sqrt()
    return (shape[1] / 12 - radius).expand(shape).contiguous()


def encoder_task(predictor: Predictor, stock_encoder: torch.nn.Module | None, turns: int) -> Task:
    """The image encoder on one image of the model's size; without a stock one beside its plain (training) form."""
    model = predictor.model
    image = torch.randn(1, 3, model.image_size, model.image_size, device=predictor.device)

    def ours() -> None:
        with torch.no_grad(), predictor._autocast():
            model.image_encoder(image)

    def reference() -> None:
        with torch.no_grad():
            stock_encoder(image)

    def plain() -> None:
        with torch.enable_grad():
            model.image_encoder.requires_grad_(False)(image)

    name = f"{model.architecture} encoder, {model.image_size}²"
    if stock_encoder is None:
        return Task(f"{name} (stock: its plain form)", plain, ours, turns)
    return Task(name, reference, ours, turns, warm_up=turns > 1)


def mobile_encoder(predictor: Predictor) -> torch.nn.Module | None:
    """MobileSAM's own encoder with the weights of ours; None where the package is not installed."""
    try:
        mobile = importlib.import_module("mobile_sam")
    except ImportError as error:
        print(f"vit_t is not compared: {error}", file=sys.stderr)
        return None
    reference = mobile.sam_model_registry["vit_t"]()
    reference.load_state_dict(predictor.model.state_dict())
    return reference.train().eval().image_encoder  # its attention copies the biases when it is told to evaluate


def decoder_task(predictor: Predictor, stock: SamPredictor, turns: int, prompts: int, fresh: bool) -> Task:
    """Masks of point prompts at low resolution, per prompt; ``fresh``: on features never seen before."""
    size = predictor.model.image_size
    points = np.random.default_rng(0).random((prompts, 1, 2)) * size
    labels = np.ones((prompts, 1))
    image = random_features(predictor, size)
    coords = torch.tensor(points[..., ::-1].copy(), dtype=torch.float, device=predictor.device)
    ones = torch.ones(prompts, 1, device=predictor.device)

    def ours() -> None:
        features = ImageFeatures(image.features.clone(), image.input_size, image.original_size) if fresh else image
        predictor.decode(features, points=points, labels=labels, multimask_output=True)

    @torch.no_grad()
    def reference() -> None:
        model = stock.model
        sparse, dense = model.prompt_encoder((coords, ones), None, None)
        model.mask_decoder(image.features, model.prompt_encoder.get_dense_pe(), sparse, dense, True)

    name = f"{predictor.model_type} decoder, {prompts} prompt(s){', new image' if fresh else ''}, per prompt"
    return Task(name, reference, ours, turns, prompts)


def click_task(predictor: Predictor, stock: SamPredictor, turns: int, size: int) -> Task:
    """One click on a known image to the best of three masks at full resolution."""
    image = random_features(predictor, size)
    logits = disc((3, 4 * predictor.model.grid_size, 4 * predictor.model.grid_size)).to(predictor.device)
    point, label = np.array([[size * 0.4, size * 0.6]]), np.array([1])

    def ours() -> None:
        decoded = predictor.decode(image, points=point[None, :, ::-1], labels=label[None], multimask_output=True)
        best = logits[int(decoded.scores[0].argmax())]
        box = predictor.foreground_box(best, image)
        mask = np.zeros(image.original_size, dtype=bool)
        part = predictor.upscale(best[None], image, box)[0] > 0
        mask[box[0] : box[2], box[1] : box[3]] = part.cpu().numpy()

    @torch.no_grad()
    def reference() -> None:
        model = stock.model
        coords = torch.as_tensor(stock.transform.apply_coords(point, image.original_size), dtype=torch.float)
        points = (coords[None].to(predictor.device), torch.as_tensor(label)[None].to(predictor.device))
        sparse, dense = model.prompt_encoder(points, None, None)
        pe = model.prompt_encoder.get_dense_pe()
        _, scores = model.mask_decoder(image.features, pe, sparse, dense, True)
        masks = model.postprocess_masks(logits[None], image.input_size, image.original_size) > 0
        masks[0, int(scores[0].argmax())].cpu().numpy()

    return Task(f"{predictor.model_type} click to mask, {size}²", reference, ours, turns)


def automatic_task(device: str, precision: str, turns: int, windowed: bool, scale: int = 1) -> Task:
    """Automatic masks of the shipped model on a sample of 512 x 512 pixels, all thresholds included, per grid point.

    With ``scale``, the image has so many times 512 pixels a side: the network sees the same, the masks are larger.

    The features are given to both sides, as the encoder is measured on its own.
    """
    predictor = get_sam_model("nano_lm", device, precision=precision)
    if not windowed:
        predictor.model.decode_window = None
    image = open_sample("immunohistochemistry").image
    image = to_rgb_uint8(image, estimate_normalization(image, 2)).repeat(scale, 0).repeat(scale, 1)
    features = predictor.encode(image)
    stock = SamAutomaticMaskGenerator(to_segment_anything(predictor.model), GRID_SIDE, 64, **THRESHOLDS)

    def set_features(*_) -> None:
        own = stock.predictor
        own.features, own.input_size, own.original_size = features.features, features.input_size, features.original_size
        own.is_image_set = True

    stock.predictor.set_image = set_features
    ours = AutomaticMaskGenerator(predictor, GRID_SIDE)
    given = {
        "features": features.features.numpy(force=True),
        "input_size": features.input_size,
        "original_size": features.original_size,
    }

    def run() -> None:
        ours.initialize(None, given)
        ours.generate(output_mode="binary_mask", **THRESHOLDS)

    name = f"automatic masks, nano_lm{' in windows' if windowed else ''}, {512 * scale}², per grid point"
    return Task(name, lambda: stock.generate(image), run, turns, GRID_SIDE**2)


def tasks(architectures: list[str], precision: str, device: str, quick: bool, encoders: bool) -> Iterator[Task]:
    """All measurements."""
    turns = 5 if quick else 15
    for architecture in architectures:
        predictor, stock = random_pair(architecture, device, precision)
        if architecture == "vit_t":  # its decoder is that of the others
            reference = mobile_encoder(predictor) if encoders else None
            if reference is not None:
                yield encoder_task(predictor, reference, max(3, turns // 3))
            continue
        if encoders:
            if architecture == "nano":  # unknown to stock, which uses ours
                yield encoder_task(predictor, None, turns)
            else:
                yield encoder_task(predictor, stock.model.image_encoder, 1 if quick else 3)
        yield decoder_task(predictor, stock, turns, 1, fresh=True)
        yield decoder_task(predictor, stock, turns, 1, fresh=False)
        yield decoder_task(predictor, stock, max(3, turns // 3), 16, fresh=False)
        for size in (1024, 2048):
            yield click_task(predictor, stock, turns, size)
    if "nano" in architectures:
        for windowed, scale in ((False, 1), (True, 1), (True, 2)):
            yield automatic_task(device, precision, max(3, turns // 5), windowed, scale)


def with_own_malloc(stock: Callable[[], object]) -> None:
    """Runs stock with malloc as its users have it, and sets ours again."""
    malloc_as_it_comes()
    stock()
    keep_memory()


def write_checkpoint(folder: Path, architecture: str) -> Path:
    """Random weights in a file, with Segment Anything's names; the masks they give are noise, but not empty."""
    predictor, _ = random_pair(architecture, "cpu", "fp32")
    path = folder / f"{architecture}.pt"
    torch.save(predictor.model.state_dict(), path)
    return path


def measure_backends(options: argparse.Namespace) -> Iterator[tuple[Result, float, float]]:
    """The encoder in each runtime beside PyTorch of that precision, from an image of 512 x 512 pixels to its features.

    Yields
    ------
    tuple
        The times, in which stock is PyTorch, and how far the features of the runtime and of PyTorch are from those of
        PyTorch at fp32, at most: a part of the largest feature.
    """
    image = open_sample("immunohistochemistry").image
    image = to_rgb_uint8(image, estimate_normalization(image, 2))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MICROSAM_CACHEDIR"] = folder  # exports of random weights are of no use to anybody
        for architecture in options.models:
            name = "nano_lm" if architecture == "nano" else architecture
            own = {} if name == "nano_lm" else {"checkpoint_path": write_checkpoint(Path(folder), architecture)}
            exact = get_sam_model(name, "cpu", precision="fp32", **own).encode(image).features.numpy()
            for backend, precision in itertools.product(options.backends, options.precision):
                try:
                    check_backend(backend, "cpu", precision)
                except (InputError, ModelError) as error:
                    print(f"{name}, {backend}, {precision}: {error}", file=sys.stderr)
                    continue
                stock = get_sam_model(name, "cpu", precision=precision, **own)
                other = get_sam_model(name, "cpu", precision=precision, backend=backend, **own)
                differences = [
                    float(np.abs(encoder.encode(image).features.float().numpy() - exact).max() / np.abs(exact).max())
                    for encoder in (other, stock)
                ]
                task, turns = f"{name} encoder, {backend} (stock: PyTorch)", 5 if options.quick else 15
                result = compare(
                    task,
                    partial(stock.encode, image),
                    partial(other.encode, image),
                    turns,
                    precision=precision,
                    warm_up=False,  # both have just run
                )
                yield result, *differences


def backends(options: argparse.Namespace) -> None:
    """Prints and writes what other runtimes make of the encoders."""
    results, largest = [], {}
    names, rule = HEADER.splitlines()
    print(f"{names} largest difference (PyTorch's own) |\n{rule}---|")
    for result, difference, own in measure_backends(options):
        results.append(result)
        largest[f"{result.task}, {result.precision}"] = {"difference": difference, "PyTorch": own}
        print(f"{format_row(result)} {difference:.1e} ({own:.1e}) |", flush=True)
        write_report(options.output, "cpu", results, largest_difference=largest)


def profile(options: argparse.Namespace) -> int:
    """Prints what the chosen tasks spend their processor time on; 1 if there is none of that name."""
    known: list[str] = []
    for precision in options.precision:
        for task in tasks(options.models, precision, options.device, True, not options.no_encoders):
            known.append(task.name)
            if options.profile in task.name:
                task.ours()
                with OpProfile() as operations:
                    task.ours()
                print(f"\n{task.name}, {precision}, {task.units} unit(s): {operations.table()}", flush=True)
    if any(options.profile in name for name in known):
        return 0
    print(f"No task has {options.profile!r} in its name; there are: {'; '.join(known)}", file=sys.stderr)
    return 1


def compare_reports(old: Path, new: Path) -> int:
    """Prints what has become slower; 1 if anything has, 2 if the two were not measured alike."""
    before, after = (json.loads(path.read_text()) for path in (old, new))
    if differences := other_conditions(before, after):
        print(f"These were not measured alike ({'; '.join(differences)}): measure one of them again.", file=sys.stderr)
        return 2
    fallen = regressions(before, after)
    for task, before, now in fallen:
        print(f"slower: {task}: {before:.2f} times stock before, {now:.2f} now")
    print("Nothing is slower." if not fallen else f"{len(fallen)} task(s) are slower.")
    return int(bool(fallen))


def main() -> int:
    """Parse arguments, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer turns: some minutes on two cores")
    parser.add_argument("--models", nargs="+", default=["vit_b", "vit_t", "nano"], help="architectures")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="+", default=["fp32"], help="of ours; stock is always fp32")
    parser.add_argument("--no-encoders", action="store_true", help="leave the image encoders out")
    parser.add_argument("--no-keep-memory", action="store_true", help="malloc as it comes; else as in our programs")
    parser.add_argument("--same-malloc", action="store_true", help="stock gets our settings of malloc, too")
    parser.add_argument("--output", type=Path, default=Path("speed.json"), help="JSON with all figures")
    parser.add_argument("--profile", metavar="TASK", help="profile the tasks with this in their name instead")
    others = [name for name in BACKENDS if name != "torch"]
    parser.add_argument("--backends", nargs="+", choices=others, help="measure encoders in these runtimes instead")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"), help="compare two JSON files instead")
    options = parser.parse_args()
    if options.compare:
        return compare_reports(*options.compare)
    kept = not options.no_keep_memory and keep_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.profile:
        return profile(options)
    if options.backends:
        backends(options)
        return 0
    results: list[Result] = []
    print(HEADER)
    for precision in options.precision:
        for task in tasks(options.models, precision, options.device, options.quick, not options.no_encoders):
            settings = {"precision": precision, "units": task.units, "warm_up": task.warm_up}
            device = torch.device(options.device).type
            stock = partial(with_own_malloc, task.stock) if kept and not options.same_malloc else task.stock
            results.append(compare(task.name, stock, task.ours, task.turns, device=device, **settings))
            print(format_row(results[-1]), flush=True)
            write_report(options.output, options.device, results, keep_memory=kept, same_malloc=options.same_malloc)
    print(f"Written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
