"""What a user gains who annotates five images and trains on them: other images of the same kind, before and after.

    python benchmarks/fine_tuning.py --data DATA --set phase_usiigaci
    python benchmarks/fine_tuning.py --data DATA --checkpoint weights_that_never_saw_them.safetensors

Learns from the first images of a training split and measures on the next ones, as the window segments: mean IoU of a
click and after corrections, with a 95 % bootstrap interval of the gain over the objects. Says how much processor time
the training took. The start weights must not have seen the set, or the gain is that of images known already.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
import torch

from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
from micro_sam.evaluation.interactive import evaluate_image
from micro_sam.io.images import find_images
from micro_sam.models.build import get_sam_model
from micro_sam.training import DataSource, TrainConfig, Trainer


def main() -> None:
    """Parse arguments, measure, train, measure again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development images")
    parser.add_argument("--set", default="phase_usiigaci", help="a data set with a training split")
    parser.add_argument("--images", type=int, default=5, help="to learn from, and to measure on")
    parser.add_argument("--objects", type=int, default=8, help="measured per image")
    parser.add_argument("--model", default="nano_lm")
    parser.add_argument("--checkpoint", help="start from these weights")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--output", type=Path, help="keep the weights in this file")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    folder = options.data / options.set / "train"
    files = list(zip(*(find_images(folder / kind) for kind in ("images", "masks")), strict=True))
    learn, hold = files[: options.images], files[options.images : 2 * options.images]

    start = get_sam_model(options.model, device="cpu", checkpoint_path=options.checkpoint)
    before = measure(start, hold, options.objects)
    print(f"before: {in_words(before)}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        source = DataSource(*(tuple(map(str, names)) for names in zip(*learn, strict=True)))
        config = TrainConfig(
            model=options.model,
            checkpoint=options.checkpoint,
            train=(source,),
            validation=(source,),  # the images that it is judged by choose nothing
            validation_objects=1,
            validate_every=options.steps,
            output=str(options.output or Path(temporary) / "fine_tuned.safetensors"),
            steps=options.steps,
            batch_size=4,
            crop=256,
            device="cpu",
        )
        clock, processor = time.monotonic(), time.process_time()
        for done in Trainer(config, overwrite=True).run():
            if done.step and done.step % 50 == 0:
                print(f"step {done.step}, {(time.process_time() - processor) / 60:.1f} CPU minutes", flush=True)
        minutes = (time.process_time() - processor) / 60, (time.monotonic() - clock) / 60
        trained = get_sam_model(None, device="cpu", checkpoint_path=config.output)
    after = measure(trained, hold, options.objects)
    print(f"after: {in_words(after)}")
    print(f"training: {options.steps} steps, {minutes[0]:.1f} CPU minutes, {minutes[1]:.1f} minutes by the clock")
    gain = (after - before)[:, 0]
    drawn = np.random.default_rng(0).integers(0, len(gain), (2000, len(gain)))
    low, high = np.quantile(gain[drawn].mean(1), (0.025, 0.975))
    print(f"a click gains {gain.mean():+.3f} ({low:+.3f} to {high:+.3f}) on {len(gain)} objects")


def measure(predictor, files: list[tuple[Path, Path]], objects: int) -> np.ndarray:
    """IoU of every object after a click, one correction, and two: (n, 3)."""
    rows = []
    for image, truth in files:
        pixels = tifffile.imread(image)
        embeddings, store = open_embeddings(predictor, pixels, ndim=2)
        for _ in iter_embeddings(predictor, pixels, store):
            pass
        rows += [t.ious for t in evaluate_image(predictor, embeddings, tifffile.imread(truth), max_objects=objects)]
    return np.array(rows)


def in_words(ious: np.ndarray) -> str:
    """The means."""
    return "click {:.3f}, +1 {:.3f}, +2 {:.3f}".format(*ious.mean(0))


if __name__ == "__main__":
    main()
