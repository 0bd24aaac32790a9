"""A package for the BioImage Model Zoo (bioimage.io, model specification 0.5): one zip file.

The package holds one ONNX graph, image and points -> masks, because the format describes one network. Its test outputs
come from our own predictor, and `bioimageio.core` runs the package on its test inputs before it gets its name.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import torch

from micro_sam import __version__
from micro_sam.errors import InputError, ModelError
from micro_sam.models import frames
from micro_sam.models.export.cover import draw_cover
from micro_sam.models.export.graphs import BOX_CORNERS, MASKS, PromptedGraph
from micro_sam.models.export.onnx_folder import DENSE_MAPS
from micro_sam.models.export.output import partial_output
from micro_sam.models.export.tracing import OPSET, Graph, plain_copy, require_packages, write_graph
from micro_sam.models.export.verify import TOLERANCE, sample_image
from micro_sam.models.predictor import Predictor
from micro_sam.models.registry import MODELS
from micro_sam.models.sizes import resized_size

logger = logging.getLogger(__name__)

# passes its serialisers a second argument that pydantic took no notice of before
BROKEN_SPECS, BREAKING_PYDANTIC = ("0.5.12.0", "0.5.12"), (2, 14)
CITATIONS = {
    "sam": ("Kirillov et al. 2023: Segment Anything", "10.1109/ICCV51070.2023.00371"),
    "mobilesam": ("Zhang et al. 2023: Faster Segment Anything (MobileSAM)", "10.48550/arXiv.2306.14289"),
    "microscopy": ("Archit et al. 2025: Segment Anything for Microscopy", "10.1038/s41592-024-02580-4"),
}
FEEDING = """
## Inputs and outputs of this package

`image`: RGB in 0..255, contrast stretched to 0..255 (percentiles 1 and 99.7 are a good choice), the longest side
resized to {size} pixels, padded at the bottom and on the right to {size} x {size} with the colour {colour}.
`point_coords`: x before y, in pixels of the resized image. `point_labels`: 1 on the object, 0 off it; {corners} for the
upper left and the lower right corner of a box; without a box, one more point with the label -1 comes last.

`low_res_masks`: logits at low resolution, over the padded image; above 0 is the object. The first
mask is for a clear prompt, the other three are for an ambiguous one. `iou_predictions`: their predicted quality.

## Validation

The test outputs were computed with micro_sam {version}; ONNX Runtime gives the same within {tolerance:g}. How well the
model segments is said above, where it has been measured; look at the masks of some of your own images first.

Image of the test and the cover: coins, from scikit-image (Brooklyn Museum collection; no known restrictions).
"""


def write_package(
    predictor: Predictor,
    path: Path,
    card: str | None = None,
    licence: str | None = None,
    authors: Sequence[str] = (),
) -> None:
    """Write the zip file.

    Parameters
    ----------
    predictor : Predictor
    path : Path
    card : str | None
        The model card, Markdown; None writes a short one.
    licence : str | None
        SPDX identifier; None takes that of the registry, if it is one.
    authors : Sequence[str]
        Names of the authors of the weights.

    Raises
    ------
    InputError
        When the licence is no SPDX identifier.
    ModelError
        When packages are missing, or the package does not pass the check of bioimageio.core.
    OutputError
        When the file exists or cannot be written.
    """
    require_packages()
    core, spec = _require_bioimageio()
    _licence(licence, required=True)  # said before the work begins
    reference = Predictor(plain_copy(predictor.model), predictor.model_name, predictor.model_hash)
    with partial_output(path) as partial:
        parts = partial.with_name("parts")
        parts.mkdir()
        _write_parts(reference, parts, card)
        context = spec.ValidationContext(root=parts, perform_io_checks=True, log_warnings=False, disable_cache=True)
        with context, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of every file: that it is no mapping
            description = _describe(reference, parts, licence, authors)
            spec.save_bioimageio_package(description, output_path=partial)
        logger.info("Checking the package with bioimageio.core")
        _check(core, spec, partial)


def _require_bioimageio() -> tuple[Any, Any]:
    try:
        import bioimageio.core as core
        import bioimageio.spec as spec
    except ImportError as error:
        raise ModelError(
            f'A bioimage.io package needs bioimageio.core; install it with: pip install "micro_sam[export]" ({error}).'
        ) from error
    installed = tuple(int(n) for n in metadata.version("pydantic").split(".")[:2])
    if spec.__version__ in BROKEN_SPECS and installed >= BREAKING_PYDANTIC:
        raise ModelError(
            f"bioimageio.spec {spec.__version__} does not work with pydantic {metadata.version('pydantic')}; "
            'install versions that fit with: pip install "micro_sam[export]"'
        )
    return core, spec


def _write_parts(predictor: Predictor, folder: Path, card: str | None) -> None:
    """All files of the package but the description."""
    model, image = predictor.model, sample_image()
    size = resized_size(image.shape[:2], model.image_size)
    points = np.array([[[0.2, 0.2], [0.1, 0.1], [0.4, 0.3]]]) * image.shape[:2]  # one point and a box, (y, x)
    coords = frames.resize_points(points, image.shape[:2], size)
    labels = np.array([[1, *BOX_CORNERS]], np.float32)
    inputs = {"image": frames.pad_image(image, model.image_size), "point_coords": coords, "point_labels": labels}

    ours = predictor.encode(image)
    prompt: dict[str, Any] = {"points": points[:, :1], "labels": labels[:, :1], "boxes": points[:, 1:].reshape(1, 4)}
    decoded = [predictor.decode(ours, **prompt, multimask_output=multimask) for multimask in (False, True)]
    outputs = {
        "low_res_masks": torch.cat([d.low_res_logits for d in decoded], dim=1),
        "iou_predictions": torch.cat([d.scores for d in decoded], dim=1),
    }
    if ours.dense is not None:
        outputs["dense_maps"] = ours.dense[None]
    for name, value in {**inputs, **outputs}.items():
        np.save(folder / f"{name}.npy", np.asarray(value, np.float32))

    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    dynamic = {"point_coords": {1: "points"}, "point_labels": {1: "points"}}
    write_graph(Graph(PromptedGraph(model), tensors, list(outputs), dynamic), folder / "weights.onnx")
    imageio.imwrite(folder / "cover.png", draw_cover(predictor, image))
    colour = " ".join(str(c) for c in frames.PAD_COLOUR)
    feeding = FEEDING.format(
        size=model.image_size, colour=colour, corners=BOX_CORNERS, version=__version__, tolerance=TOLERANCE
    )
    (folder / "README.md").write_text((card or _short_card(predictor)).rstrip() + "\n" + feeding)


def _short_card(predictor: Predictor) -> str:
    spec = MODELS.get(predictor.model_name)
    what = "Weights of one's own" if spec is None else f"{spec.description}. Licence of the weights: {spec.licence}"
    return f"# {predictor.model_name}\n\n{what}. Architecture: {predictor.model_type}."


def _describe(predictor: Predictor, folder: Path, licence: str | None, authors: Sequence[str]) -> Any:
    """The description (rdf.yaml) of the files in ``folder``."""
    import bioimageio.spec.model.v0_5 as v5
    from bioimageio.spec.common import FileDescr

    model, known = predictor.model, MODELS.get(predictor.model_name)
    families = ["sam", *([known.family] if known and known.family != "sam" else [])]
    one = v5.BatchAxis(size=1)

    def file(name: str) -> Any:
        return FileDescr(source=folder / name)

    def channels(*names: str) -> Any:
        return v5.ChannelAxis(channel_names=list(names))

    def space(kind: type, name: str, start: int) -> list[Any]:
        shape = np.load(folder / f"{name}.npy", mmap_mode="r").shape
        return [kind(id=axis, size=n) for axis, n in zip("yx", shape[start:], strict=True)]

    points = v5.IndexInputAxis(size=v5.ParameterizedSize(min=1, step=1))

    def tensor(kind: type, name: str, axes: list[Any], text: str) -> Any:
        return kind(id=name, axes=axes, description=text, test_tensor=file(f"{name}.npy"))

    inputs = [
        tensor(
            v5.InputTensorDescr,
            "image",
            [one, channels("red", "green", "blue"), *space(v5.SpaceInputAxis, "image", 2)],
            "RGB in 0..255, resized and padded as the documentation says",
        ),
        tensor(v5.InputTensorDescr, "point_coords", [one, points, channels("x", "y")], "points and corners of a box"),
        tensor(v5.InputTensorDescr, "point_labels", [one, points], "1 on, 0 off, 2 and 3 corners, -1 padding"),
    ]
    masks = [re.sub(r"\W", "_", name) for name in MASKS]
    outputs = [
        tensor(
            v5.OutputTensorDescr,
            "low_res_masks",
            [one, channels(*masks), *space(v5.SpaceOutputAxis, "low_res_masks", 2)],
            "mask logits",
        ),
        tensor(v5.OutputTensorDescr, "iou_predictions", [one, channels(*masks)], "predicted quality of the masks"),
    ]
    if (folder / "dense_maps.npy").exists():
        maps = [re.sub(r"\W", "_", name) for name in DENSE_MAPS[model.dense_kind]]
        axes = [one, channels(*maps), *space(v5.SpaceOutputAxis, "dense_maps", 2)]
        outputs.append(tensor(v5.OutputTensorDescr, "dense_maps", axes, "maps for segmentation without prompts"))
    external = file("weights.data") if (folder / "weights.data").exists() else None
    tolerance = v5.ReproducibilityTolerance(
        relative_tolerance=TOLERANCE, absolute_tolerance=TOLERANCE, mismatched_elements_per_million=0
    )
    return v5.ModelDescr(
        name=_name(predictor.model_name),
        description=known.description if known else f"Segment Anything model ({predictor.model_type}), fine-tuned",
        authors=[v5.Author(name=name) for name in authors],
        cite=[v5.CiteEntry(text=text, doi=v5.Doi(doi)) for text, doi in (CITATIONS[family] for family in families)],
        license=_licence(licence or (known.licence if known else None), required=licence is not None),
        tags=["segment-anything", "interactive-segmentation", "instance-segmentation", "microscopy", "micro-sam"],
        covers=[file("cover.png")],
        documentation=file("README.md"),
        inputs=inputs,
        outputs=outputs,
        weights=v5.WeightsDescr(
            onnx=v5.OnnxWeightsDescr(source=folder / "weights.onnx", opset_version=OPSET, external_data=external)
        ),
        config=v5.Config(bioimageio=v5.BioimageioConfig(reproducibility_tolerance=[tolerance])),
    )


def _name(name: str) -> str:
    """A name that bioimage.io allows."""
    return re.sub(r"[^\w\- ()]", "_", name)


def _licence(licence: str | None, required: bool) -> Any:
    from bioimageio.spec.generic.v0_3 import LicenseId
    from pydantic import TypeAdapter, ValidationError

    try:
        return None if licence is None else TypeAdapter(LicenseId).validate_python(licence)
    except ValidationError as error:
        if not required:
            return None  # the registry says where the licence is stated, and the documentation repeats it
        raise InputError(
            f"{licence!r} is no licence of the SPDX list; give its identifier, such as MIT or CC-BY-4.0."
        ) from error


def _check(core: Any, spec: Any, package: Path) -> None:
    """Run the package on its test inputs; a `ModelError` says what bioimageio.core found."""
    with spec.ValidationContext(log_warnings=False, disable_cache=True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        summary = core.test_description(package, devices=["cpu"])
    if summary.status != "passed":
        errors = [f"{'.'.join(str(x) for x in e.loc)}: {e.msg}" for detail in summary.details for e in detail.errors]
        raise ModelError(f"bioimageio.core does not accept the package ({summary.status}): {'; '.join(errors)}")
