"""Every model that can be asked for by name.

Sources: Segment Anything (Kirillov et al. 2023, Apache-2.0), MobileSAM (Zhang et al. 2023, Apache-2.0) and the
fine-tuned models of Archit et al. 2025 (*Segment Anything for Microscopy*, Nature Methods), which are published in the
BioImage Model Zoo and on the owncloud of GWDG. The hashes are of the whole files.
"""

from __future__ import annotations

from dataclasses import replace

from micro_sam.errors import InputError
from micro_sam.models.cache import find_local
from micro_sam.models.spec import ModelSpec, WeightFile

DEFAULT_MODEL = "vit_h"
SHIPPED_MODEL = "nano_lm"
SHIPPED_DATE = "2026-11-30.2"  # of the weights in the package: ``nano_lm@2026-11-30.2`` names them, too
EARLIER_WEIGHTS = {  # date -> xxh128 of the file that was ``nano_lm`` before
    "2026-11-22": "57ade45a505284b1b5de1c3b6fc6e503",
    "2026-11-26": "36d40be6faf3d1850b510ab410284fba",
    "2026-11-28": "6a4bc847888c744c28c797261df54384",
    "2026-11-30": "1375d397cd40d0203b2a7ef5b6c87dd6",
}

META = "https://dl.fbaipublicfiles.com/segment_anything"
ZOO = "https://uk1s3.embassy.ebi.ac.uk/public-datasets/bioimage.io"
OWNCLOUD = "https://owncloud.gwdg.de/index.php/s"


def _original(name: str, filename: str, size: int, sha256: str, xxh128: str, description: str) -> ModelSpec:
    weights = WeightFile(name, f"{META}/{filename}", sha256, xxh128, size, aliases=(filename,))
    return ModelSpec(name, name, "sam", "Apache-2.0", weights, description=description)


def _fine_tuned(
    name: str, model_url: str, model_hash: str, decoder_url: str, decoder_hash: str, purpose: str
) -> ModelSpec:
    return ModelSpec(
        name,
        architecture=name[: len("vit_x")],
        family="microscopy",
        licence="as published with the weights",
        weights=WeightFile(name, model_url, xxh128=model_hash),
        decoder=WeightFile(f"{name}_decoder", decoder_url, xxh128=decoder_hash),
        description=f"fine-tuned for {purpose}",
    )


def _zoo(name: str, folder: str, model_hash: str, decoder_hash: str, purpose: str) -> ModelSpec:
    base = f"{ZOO}/{folder}/files/{name[: len('vit_x')]}"
    return _fine_tuned(name, f"{base}.pt", model_hash, f"{base}_decoder.pt", decoder_hash, purpose)


def _owncloud(name: str, share: str, model_hash: str, decoder_share: str, decoder_hash: str, purpose: str) -> ModelSpec:
    model_url, decoder_url = (f"{OWNCLOUD}/{s}/download" for s in (share, decoder_share))
    return _fine_tuned(name, model_url, model_hash, decoder_url, decoder_hash, purpose)


LIGHT = "cells and nuclei in light microscopy"
ORGANELLES = "organelles in electron microscopy"
HISTOPATHOLOGY = "nuclei in histopathology"
MEDICAL = "medical images"

_SPECS = (
    _original(
        "vit_h",
        "sam_vit_h_4b8939.pth",
        2564550879,
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        "97698fac30bd929c2e6d8d8cc15933c2",
        "Segment Anything, the largest: best on natural images, wants a GPU",
    ),
    _original(
        "vit_l",
        "sam_vit_l_0b3195.pth",
        1249524607,
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        "a82beb3c660661e3dd38d999cc860e9a",
        "Segment Anything, large",
    ),
    _original(
        "vit_b",
        "sam_vit_b_01ec64.pth",
        375042383,
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "6923c33df3637b6a922d7682bfc9a86b",
        "Segment Anything, base",
    ),
    ModelSpec(
        "vit_t",
        architecture="vit_t",
        family="mobilesam",
        licence="Apache-2.0",
        weights=WeightFile(
            "vit_t",
            f"{OWNCLOUD}/TuDzuwVDHd1ZDnQ/download",
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            "8eadbc88aeb9d8c7e0b4b60c3db48bd0",
            aliases=("mobile_sam.pt",),
        ),
        description="MobileSAM: Segment Anything with a tiny encoder",
    ),
    ModelSpec(
        SHIPPED_MODEL,
        architecture="nano",
        family="microscopy",
        licence="MIT",
        weights=WeightFile(f"{SHIPPED_MODEL}.safetensors", url=None),
        description="small model for nuclei, cells, bacteria and axons; ships with the package, fast without a GPU",
        shipped=True,
    ),
    _zoo(
        "vit_l_lm",
        "idealistic-rat/1.2",
        "017f20677997d628426dec80a8018f9d",
        "2faeafa03819dfe03e7c46a44aaac64a",
        LIGHT,
    ),
    _zoo(
        "vit_b_lm",
        "diplomatic-bug/1.2",
        "fe9252a29f3f4ea53c15a06de471e186",
        "708b15ac620e235f90bb38612c4929ba",
        LIGHT,
    ),
    _zoo(
        "vit_t_lm",
        "faithful-chicken/1.1",
        "72ec5074774761a6e5c05a08942f981e",
        "3e914a5f397b0312cdd36813031f8823",
        LIGHT,
    ),
    _zoo(
        "vit_l_em_organelles",
        "humorous-crab/1.2",
        "810b084b6e51acdbf760a993d8619f2d",
        "334877640bfdaaabce533e3252a17294",
        ORGANELLES,
    ),
    _zoo(
        "vit_b_em_organelles",
        "noisy-ox/1.2",
        "f3bf2ed83d691456bae2c3f9a05fb438",
        "bb6398956a6b0132c26b631c14f95ce2",
        ORGANELLES,
    ),
    _zoo(
        "vit_t_em_organelles",
        "greedy-whale/1",
        "253474720c497cce605e57c9b1d18fd9",
        "8f897c7bb93174a4d1638827c4dd6f44",
        ORGANELLES,
    ),
    _owncloud(
        "vit_b_histopathology",
        "sBB4H8CTmIoBZsQ",
        "ffd1a2cd84570458b257bd95fdd8f974",
        "KO9AWqynI7SFOBj",
        "6a66194dcb6e36199cbee2214ecf7213",
        HISTOPATHOLOGY,
    ),
    _owncloud(
        "vit_l_histopathology",
        "IZgnn1cpBq2PHod",
        "b591833c89754271023e901281dee3f2",
        "oIs6VSmkOp7XrKF",
        "46aab7765d4400e039772d5a50b55c04",
        HISTOPATHOLOGY,
    ),
    _owncloud(
        "vit_h_histopathology",
        "L7AcvVz7DoWJ2RZ",
        "bd1856dafc156a43fb3aa705f1a6e92e",
        "1qAKxy5H0jgwZvM",
        "3ed9f87e46ad5e16935bd8d722c8dc47",
        HISTOPATHOLOGY,
    ),
    _owncloud(
        "vit_b_medical_imaging",
        "f5Ol4FrjPQWfjUF",
        "40169f1e3c03a4b67bff58249c176d92",
        "ahd3ZhZl2e0RIwz",
        "9e498b12f526f119b96c88be76e3b2ed",
        MEDICAL,
    ),
)

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _SPECS}


def get_spec(name: str | None) -> ModelSpec:
    """The model of this name. ``nano_lm@DATE`` names the weights of nano_lm that were shipped from that day on.

    Raises
    ------
    InputError
        When there is none; the message lists the names.
    """
    if isinstance(name, str) and name.startswith(f"{SHIPPED_MODEL}@"):
        return _dated(name.removeprefix(f"{SHIPPED_MODEL}@"))
    spec = MODELS.get(name) if isinstance(name, str) else None
    if spec is None:
        raise InputError(
            f"There is no model {name!r}. The models are: {', '.join(MODELS)}. "
            "Weights of your own are given as a checkpoint."
        )
    return spec


def _dated(date: str) -> ModelSpec:
    """The shipped model with the weights of a day."""
    shipped = MODELS[SHIPPED_MODEL]
    if date == SHIPPED_DATE:
        return shipped
    if date not in EARLIER_WEIGHTS:
        dates = ", ".join([*EARLIER_WEIGHTS, SHIPPED_DATE])
        raise InputError(f"There are no weights of {SHIPPED_MODEL} of the day {date!r}. There are those of {dates}.")
    name = f"{SHIPPED_MODEL}@{date}"
    weights = WeightFile(
        f"{name}.safetensors",
        url=None,
        xxh128=EARLIER_WEIGHTS[date],
        how=f"They came with earlier versions of micro_sam (micro_sam/models/weights/{SHIPPED_MODEL}.safetensors) and "
        f"are not published; {SHIPPED_MODEL} has those of {SHIPPED_DATE} now. A file can be given as a checkpoint.",
    )
    return replace(shipped, name=name, weights=weights, shipped=False)


def get_architecture_name(model_type: str) -> str:
    """The architecture of a model type, which is the name of a model or of an architecture ("vit_b", "nano")."""
    known = {spec.architecture for spec in MODELS.values()}
    return model_type if model_type in known else get_spec(model_type).architecture


def get_model_names() -> list[str]:
    """Names of all models, the originals first."""
    return list(MODELS)


def models() -> dict[str, str]:
    """Which models are where: name -> "shipped" (in the package), "cached" (on this machine) or "downloadable"."""

    def status(spec: ModelSpec) -> str:
        if spec.shipped:
            return "shipped"
        return "downloadable" if find_local(spec) is None else "cached"

    return {name: status(spec) for name, spec in MODELS.items()}
