"""How fast the models are beside segment_anything, on this machine.

    python benchmarks/speed.py [--quick] [--threads N] [--device cpu] [--output speed.json]

Both sides run in one process with the same random weights, in turns, so that whatever else the machine does hits both.
Reported are medians of CPU seconds and wall seconds (on a GPU: wall), the ratio stock / ours with the range of the
ratios of single turns, and the memory that a call needs at its peak beyond what the process held before (Linux).

A random model's masks are noise all over the image, which no real mask is. Where a measurement goes on to the mask at
full resolution, the decoder's work is real and the mask is a disc of a sixth of the image.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from segment_anything import SamPredictor

from micro_sam.models.malloc import keep_memory
from micro_sam.models.predictor import ImageFeatures, Predictor
from micro_sam.models.sam import Sam

MB = 2**20


@dataclass
class Result:
    """One task; times in seconds per unit of work, memory in MB."""

    task: str
    turns: int
    stock_cpu: float
    ours_cpu: float
    stock_wall: float
    ours_wall: float
    ratio: float  # stock / ours, of CPU time on a CPU and of wall time on a GPU
    ratio_min: float
    ratio_max: float
    stock_memory: float | None
    ours_memory: float | None


class PeakMemory:
    """Peak resident memory of the process while a block runs, beyond what it held before; None where unknown."""

    def __enter__(self) -> PeakMemory:
        self.extra: float | None = None
        self._before = None
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            self._before = _status("VmRSS")
        except OSError:
            pass
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            self.extra = (_status("VmHWM") - self._before) / 1024


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(key)).split()[1])


def compare(
    task: str, stock: Callable, ours: Callable, turns: int, units: int = 1, device: str = "cpu", warm_up: bool = True
) -> Result:
    """Runs both in turns, once more before to warm up, and summarises; ``units`` divides the times."""
    times: dict[str, list[tuple[float, float]]] = {"stock": [], "ours": []}
    memory: dict[str, float | None] = {}
    for turn in range(-1 if warm_up else 0, turns):
        for name, function in (("stock", stock), ("ours", ours)):
            with PeakMemory() as peak:
                cpu, wall = time.process_time(), time.perf_counter()
                function()
                if device != "cpu":
                    torch.cuda.synchronize()
                cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            memory.setdefault(name, peak.extra)
            if turn >= 0:
                times[name].append((cpu / units, wall / units))
    clock = 0 if device == "cpu" else 1
    ratios = [s[clock] / o[clock] for s, o in zip(times["stock"], times["ours"], strict=True)]
    cpu = {name: statistics.median(t[0] for t in values) for name, values in times.items()}
    wall = {name: statistics.median(t[1] for t in values) for name, values in times.items()}
    return Result(
        task,
        turns,
        cpu["stock"],
        cpu["ours"],
        wall["stock"],
        wall["ours"],
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        memory["stock"],
        memory["ours"],
    )


def random_pair(architecture: str, device: str, precision: str) -> tuple[Predictor, SamPredictor]:
    """Our predictor and the stock one, with the same random weights."""
    torch.manual_seed(0)
    sam = Sam.from_architecture(architecture)
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    predictor = Predictor(sam, device=device, precision=precision)
    return predictor, SamPredictor(sam.to_segment_anything())


def disc(shape: tuple[int, int, int]) -> torch.Tensor:
    """Logits (M, l, l) of a disc with a diameter of a sixth of the side."""
    y, x = torch.meshgrid(torch.arange(shape[1]), torch.arange(shape[2]), indexing="ij")
    radius = ((y - shape[1] / 2) ** 2 + (x - shape[2] / 2) ** 2).sqrt()
    return (shape[1] / 12 - radius).expand(shape).contiguous()


def measure_encoder(predictor: Predictor, stock: SamPredictor, turns: int, warm_up: bool) -> Result:
    """The image encoder on one image of the model's size."""
    model = predictor.model
    image = torch.randn(1, 3, model.image_size, model.image_size, device=predictor.device)

    def ours() -> None:
        with torch.no_grad(), predictor._autocast():
            model.image_encoder(image)

    def reference() -> None:
        with torch.no_grad():
            stock.model.image_encoder(image)

    name = f"{model.architecture} encoder, {model.image_size}²"
    return compare(name, reference, ours, turns, device=predictor.device.type, warm_up=warm_up)


def random_features(predictor: Predictor, size: int) -> ImageFeatures:
    """Features of an image of size x size that no encoder made."""
    model = predictor.model
    features = torch.randn(1, model.embed_dim, model.grid_size, model.grid_size, device=predictor.device)
    return ImageFeatures(features, (model.image_size,) * 2, (size, size))


def measure_decoder(predictor: Predictor, stock: SamPredictor, turns: int, prompts: int, fresh: bool) -> Result:
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
    return compare(name, reference, ours, turns, prompts, device=predictor.device.type)


def measure_click(predictor: Predictor, stock: SamPredictor, turns: int, size: int) -> Result:
    """One click on a known image to the best of three masks at full resolution."""
    image = random_features(predictor, size)
    logits = disc((3, 4 * predictor.model.grid_size, 4 * predictor.model.grid_size)).to(predictor.device)
    point, label = np.array([[size * 0.4, size * 0.6]]), np.array([1])
    stock.features, stock.original_size, stock.input_size = image.features, image.original_size, image.input_size
    stock.is_image_set = True

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

    return compare(
        f"{predictor.model_type} click to mask, {size}²", reference, ours, turns, device=predictor.device.type
    )


def run(architectures: list[str], quick: bool, device: str, precision: str, encoders: bool) -> list[Result]:
    """All measurements, printed as they come."""
    results: list[Result] = []
    turns = 5 if quick else 15

    def keep(result: Result) -> None:
        results.append(result)
        print(format_row(result), flush=True)

    print(HEADER)
    for architecture in architectures:
        predictor, stock = random_pair(architecture, device, precision)
        large = architecture.startswith("vit_") and architecture != "vit_t"
        # encoders that stock does not know are used by it as they are: nothing to compare
        if encoders and large:
            keep(measure_encoder(predictor, stock, 1 if quick else 3, warm_up=not quick))
        keep(measure_decoder(predictor, stock, turns, 1, fresh=True))
        keep(measure_decoder(predictor, stock, turns, 1, fresh=False))
        keep(measure_decoder(predictor, stock, max(3, turns // 3), 16, fresh=False))
        for size in (1024, 2048):
            keep(measure_click(predictor, stock, turns, size))
    return results


HEADER = f"{'task':50s} {'stock':>9s} {'ours':>9s} {'ratio':>6s} {'(range)':>13s} {'peak MB':>15s}"


def format_row(r: Result) -> str:
    on_cpu = r.ratio and abs(r.stock_cpu / r.ours_cpu - r.ratio) <= abs(r.stock_wall / r.ours_wall - r.ratio)
    stock, ours = (r.stock_cpu, r.ours_cpu) if on_cpu else (r.stock_wall, r.ours_wall)
    memory = "" if r.ours_memory is None else f"{r.stock_memory:7.0f}{r.ours_memory:8.0f}"
    spread = f"({r.ratio_min:.2f}-{r.ratio_max:.2f})"
    return f"{r.task:50s} {stock * 1e3:7.0f}ms {ours * 1e3:7.0f}ms {r.ratio:6.2f} {spread:>13s} {memory:>15s}"


def describe_machine(device: str) -> dict:
    """What a reader must know to compare figures."""
    cpu = platform.processor()
    try:
        info = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns: about three minutes on two cores")
    parser.add_argument("--models", nargs="+", default=["vit_b", "nano"], help="architectures")
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", help="of ours; stock is always fp32")
    parser.add_argument("--no-encoders", action="store_true", help="leave the image encoders out")
    parser.add_argument("--keep-memory", action="store_true", help="malloc as in our programs, for both sides")
    parser.add_argument("--output", default="speed.json", help="JSON with all figures")
    arguments = parser.parse_args()
    kept = arguments.keep_memory and keep_memory()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    results = run(arguments.models, arguments.quick, arguments.device, arguments.precision, not arguments.no_encoders)
    report = {
        **describe_machine(arguments.device),
        "precision": arguments.precision,
        "keep_memory": kept,
        "results": [asdict(result) for result in results],
    }
    Path(arguments.output).write_text(json.dumps(report, indent=1))
    print(f"Written to {arguments.output}")


if __name__ == "__main__":
    main()
