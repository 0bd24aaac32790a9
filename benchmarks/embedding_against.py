"""Embedding an image beside micro-sam 1.8, with the same random weights, in CPU time.

    python benchmarks/embedding_against.py --peer PYTHON --models vit_t vit_b --rounds 3

``PYTHON`` is that of an environment with micro-sam 1.8. Both programs are asked by the same public functions, each time
in a process of its own, in turns, with one thread; the model is built before the clock starts. Features must agree but
for the normalisation of grey values.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LEAST_AGREEMENT = 0.99  # correlation of the features; each program normalises grey values in its own way


def main(arguments: list[str] | None = None) -> int:
    """Parse arguments, measure, print and write."""
    options = build_parser().parse_args(arguments)
    if options.child:
        return embed(**json.loads(options.child))
    from measuring import describe_machine

    rows = []
    with tempfile.TemporaryDirectory() as name:
        for model in options.models:
            weights = random_weights(model, Path(name))
            taken: dict[str, list[float]] = {"peer": [], "this": []}
            features = {}
            for _ in range(options.rounds):
                for who, python in (("peer", options.peer), ("this", sys.executable)):
                    output = Path(name) / f"{who}.npy"
                    asked = {"model": model, "weights": str(weights), "side": options.side, "output": str(output)}
                    taken[who].append(child(python, who == "this", asked, Path(name)))
                    features[who] = np.load(output)
            agreement = float(np.corrcoef(features["peer"].ravel(), features["this"].ravel())[0, 1])
            ratio = min(taken["peer"]) / min(taken["this"])
            rows.append({"model": model, **taken, "ratio of the best": ratio, "agreement": agreement})
            each = {who: ", ".join(f"{seconds:.2f}" for seconds in found) for who, found in taken.items()}
            print(f"{model}: micro-sam 1.8 {each['peer']}, this {each['this']} CPU s: {ratio:.2f} times, ", end="")
            print(f"correlation of the features {agreement:.4f}", flush=True)
    if options.output is not None:
        options.output.write_text(json.dumps({**describe_machine("cpu"), "rows": rows}, indent=1))
    return int(any(row["agreement"] < LEAST_AGREEMENT for row in rows))


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="Python of an environment with micro-sam 1.8")
    parser.add_argument("--models", nargs="+", default=["vit_t", "vit_b"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=1024, help="pixels of the image (1024)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def random_weights(model: str, folder: Path) -> Path:
    """A checkpoint in Segment Anything's form."""
    import torch

    from micro_sam.models.build import build_model

    torch.manual_seed(0)
    path = folder / f"{model}.pth"
    torch.save(build_model(model).state_dict(), path)
    return path


def child(python: str, is_this: bool, asked: dict, folder: Path) -> float:
    """CPU seconds of one program."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONPATH", None)
    if is_this:
        environment["PYTHONPATH"] = str(ROOT)
    call = [python, str(Path(__file__).resolve()), "--child", json.dumps(asked)]
    done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the program failed")
    return float(done.stdout.strip().splitlines()[-1])


def embed(model: str, weights: str, side: int, output: str) -> int:
    """In a process of its own: embed an image with whichever micro_sam this Python has; prints CPU seconds."""
    import torch

    from micro_sam.util import get_sam_model, precompute_image_embeddings

    torch.set_num_threads(1)
    image = np.random.default_rng(0).integers(0, 256, (side, side), dtype="uint8")
    predictor = get_sam_model(model, device="cpu", checkpoint_path=weights)
    begin = time.process_time()
    found = precompute_image_embeddings(predictor, image, ndim=2, verbose=False)
    seconds = time.process_time() - begin
    np.save(output, np.asarray(found["features"]))
    print(seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
