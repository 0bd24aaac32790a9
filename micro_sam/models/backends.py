"""Image encoders in other runtimes than PyTorch: ONNX Runtime and OpenVINO, on the CPU.

The encoder is written as ONNX once, compared with PyTorch's features on a real image, and kept beside the downloaded
weights, by the hash of the weights it was made from. Prompts are decoded by PyTorch in any case.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from micro_sam.errors import InputError, ModelError, OutputError
from micro_sam.models import frames
from micro_sam.models.cache import get_model_directory
from micro_sam.models.predictor import Encoder, Predictor

logger = logging.getLogger(__name__)

BACKENDS = ("torch", "openvino", "onnx")
PRECISIONS = {"openvino": ("fp32", "bf16"), "onnx": ("fp32",)}
PACKAGES = {"openvino": ("onnx", "openvino"), "onnx": ("onnx", "onnxruntime")}
TOLERANCE = 1e-3  # of the features at fp32, relative to the largest
FOLDER = "encoders"  # in the folder of the models


def check_backend(backend: str, device: str | torch.device, precision: str) -> None:
    """What can be known to be wrong before a model is loaded.

    Raises
    ------
    InputError
        For an unknown backend, or a device or precision that it does not have.
    ModelError
        When its packages are not installed.
    """
    if backend not in BACKENDS:
        raise InputError(f"There is no backend {backend!r}; choose one of {', '.join(BACKENDS)}.")
    if backend == "torch":
        return
    if torch.device(device).type != "cpu":
        raise InputError(f"The backend {backend!r} is for the CPU; choose device 'cpu', or the backend 'torch'.")
    if precision not in PRECISIONS[backend]:
        raise InputError(
            f"The backend {backend!r} computes in {' or '.join(PRECISIONS[backend])}, not in {precision}; choose "
            "another precision, or the backend 'torch'."
        )
    for package in PACKAGES[backend]:
        try:
            __import__(package)
        except ImportError as error:
            raise ModelError(
                f"The backend {backend!r} needs the package {package}, which is not installed ({error}). Install it "
                f'with: pip install "micro_sam[{backend}]"'
            ) from error


def open_encoder(predictor: Predictor, backend: str) -> Encoder:
    """The encoder of a predictor's model in another runtime; exported first if it has not been yet.

    Parameters
    ----------
    predictor : Predictor
        On the CPU; its precision is that of the runtime.
    backend : str
        "openvino" or "onnx".

    Raises
    ------
    InputError, ModelError
        See `check_backend`; a ModelError also when the export does not give the model's features.
    OutputError
        When the export cannot be written.
    """
    check_backend(backend, predictor.device, predictor.precision)
    path = _exported(predictor)
    return _RUNTIMES[backend](path, predictor.precision)


def export_path(predictor: Predictor) -> Path:
    """Where the exported encoder of a model lies, or will."""
    key = predictor.model_hash
    if not key:
        raise ModelError("The weights of this model have no hash to know its export by; get it with get_sam_model.")
    return get_model_directory() / FOLDER / f"{predictor.model.architecture}-{key}" / "encoder.onnx"


def _exported(predictor: Predictor) -> Path:
    path = export_path(predictor)
    if path.exists():
        return path
    from micro_sam.models.export.onnx_folder import make_graphs
    from micro_sam.models.export.output import partial_output
    from micro_sam.models.export.tracing import plain_copy, write_graph

    logger.info("Writing the image encoder of %s as ONNX, once: %s", predictor.model_name, path)
    model = plain_copy(predictor.model)
    try:
        with partial_output(path.parent) as folder:
            folder.mkdir()
            write_graph(make_graphs(model)["encoder"], folder / path.name)
            _verify(predictor, folder / path.name)
    except OutputError:
        if not path.exists():  # another process may have been quicker
            raise
    return path


def _verify(predictor: Predictor, path: Path) -> None:
    """Raise a ModelError unless the export gives the features of the model, in the runtime that is installed."""
    from micro_sam.models.export.verify import sample_image

    image = sample_image()
    reference = Predictor(predictor.model, precision="fp32").encode(image).features.numpy()
    runtime = next(run for name, run in _RUNTIMES.items() if _installed(name))
    features, _ = runtime(path, "fp32")(frames.pad_image(image, predictor.model.image_size))
    difference = float(np.abs(features - reference).max() / max(1.0, np.abs(reference).max()))
    if not difference <= TOLERANCE:  # NaN is wrong too
        raise ModelError(
            f"The exported image encoder of {predictor.model_name} gives other features than PyTorch (by "
            f"{difference:.2g} of the largest; allowed is {TOLERANCE:g}) and was not kept. Use the backend 'torch'."
        )


def _installed(backend: str) -> bool:
    try:
        check_backend(backend, "cpu", "fp32")
    except ModelError:
        return False
    return True


def _onnx(path: Path, precision: str) -> Encoder:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        features, *dense = session.run(None, {"image": image})
        return features, dense[0] if dense else None

    return encode


def _openvino(path: Path, precision: str) -> Encoder:
    import openvino

    options = {
        # without this OpenVINO takes bf16 wherever the processor has it
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(path, "CPU", options)

    def encode(image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        request = compiled.create_infer_request()  # of this call: threads may share the encoder
        request.infer({0: image})
        features, *dense = (request.get_output_tensor(i).data.copy() for i in range(len(compiled.outputs)))
        return features, dense[0] if dense else None

    return encode


_RUNTIMES: dict[str, Callable[[Path, str], Encoder]] = {"openvino": _openvino, "onnx": _onnx}
