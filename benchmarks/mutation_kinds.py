"""Kinds of files for `mutations.py`: how each is written, small, and how it is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[[Path], Path]


def volume() -> np.ndarray:
    """A small stack that does not compress to nothing."""
    data = np.random.default_rng(0).integers(0, 200, (4, 40, 56)).astype("uint16")
    data[:, 10:20, 10:30] += 300
    return data


def label_stack() -> np.ndarray:
    """Labels of the same shape."""
    labels = np.zeros((4, 40, 56), "uint16")
    labels[:, 10:20, 10:30], labels[1:, 25:30, 5:15] = 1, 2
    return labels


# ---------------------------------------------------------------- how each kind is written


def tif(**options: Any) -> Make:
    def make(folder: Path) -> Path:
        import tifffile

        path = folder / ("a.ome.tif" if options.get("ome") else "a.tif")
        tifffile.imwrite(path, volume(), **options)
        return path

    return make


def picture(suffix: str) -> Make:
    def make(folder: Path) -> Path:
        from PIL import Image

        path = folder / f"a.{suffix}"
        Image.fromarray(np.stack([volume()[0] % 256] * 3, -1).astype("uint8")).save(path)
        return path

    return make


def deep_png(folder: Path) -> Path:
    import imagecodecs

    colours = np.ascontiguousarray(volume()[:3].transpose(1, 2, 0) * 100)
    (folder / "a.png").write_bytes(imagecodecs.png_encode(colours))
    return folder / "a.png"


def npy(folder: Path) -> Path:
    np.save(folder / "a.npy", volume())
    return folder / "a.npy"


def mrc(folder: Path) -> Path:
    import struct

    data = volume().astype("int16")
    head = bytearray(1024)
    head[:16], head[28:40] = struct.pack("<4i", 56, 40, 4, 1), struct.pack("<3i", 56, 40, 4)
    head[40:52], head[64:76] = struct.pack("<3f", 56, 40, 8), struct.pack("<3i", 1, 2, 3)
    head[208:214] = b"MAP DD"
    (folder / "a.mrc").write_bytes(bytes(head) + data.tobytes())
    return folder / "a.mrc"


def hdf5(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("raw", data=volume(), chunks=(1, 20, 28), compression="gzip")
    return folder / "a.h5"


def n5(compression: str) -> Make:
    def make(folder: Path) -> Path:
        import gzip

        data, block = volume(), (2, 20, 28)
        root = folder / "a.n5"
        root.mkdir()
        attributes = {"dimensions": [56, 40, 4], "blockSize": [28, 20, 2], "dataType": "uint16"}
        (root / "attributes.json").write_text(json.dumps(attributes | {"compression": {"type": compression}}))
        for place in np.ndindex(2, 2, 2):
            part = data[tuple(slice(p * b, (p + 1) * b) for p, b in zip(place, block, strict=True))]
            head = np.array([0, 3], ">u2").tobytes() + np.array(part.shape[::-1], ">u4").tobytes()
            body = np.ascontiguousarray(part, ">u2").tobytes()
            file = root.joinpath(*(str(p) for p in reversed(place)))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(head + (gzip.compress(body) if compression == "gzip" else body))
        return root

    return make


def zarr_array(version: int, compressor: str = "default") -> Make:
    def make(folder: Path) -> Path:
        import zarr

        options: dict[str, Any] = {}
        if compressor == "blosc":
            import numcodecs

            blosc = zarr.codecs.BloscCodec() if version == 3 else numcodecs.Blosc()
            options["compressors"] = blosc
        path = folder / "a.zarr"
        array = zarr.create_array(
            str(path), shape=(4, 40, 56), chunks=(1, 40, 56), dtype="uint16", zarr_format=version, **options
        )
        array[...] = volume()
        return path

    return make


def ome_zarr(folder: Path) -> Path:
    import zarr

    group = zarr.open_group(str(folder / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=volume(), chunks=(1, 40, 56))
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [2.0, 0.5, 0.5]}]}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    return folder / "a.zarr"


def embedding_cache(folder: Path) -> Path:
    import torch

    from micro_sam.embeddings.cache_key import CacheKey
    from micro_sam.embeddings.signature import compute_signature
    from micro_sam.embeddings.zarr_store import ZarrStore
    from micro_sam.io.normalization import Normalization
    from micro_sam.models.predictor import ImageFeatures

    signature = compute_signature(volume()[:2])
    key = CacheKey(signature, (2, 40, 56), 3, "vit_b", "vit_b", None, "fp32", None, None, None)
    store = ZarrStore.create(folder / "a.zarr", key, (1, 8, 4, 4), Normalization((0.0,), (255.0,)))
    for i in range(2):
        store.write(i, 0, ImageFeatures(torch.rand(1, 8, 4, 4), (731, 1024), (40, 56)))
    store.finish()
    return folder / "a.zarr"


def label_tif(folder: Path) -> Path:
    from micro_sam.io.labels import save_labels

    return save_labels(folder / "labels.tif", label_stack())


def cellpose(folder: Path) -> Path:
    np.save(folder / "a_seg.npy", {"masks": label_stack(), "outlines": label_stack()}, allow_pickle=True)
    return folder / "a_seg.npy"


def geojson(folder: Path) -> Path:
    from micro_sam.io.formats.geojson import geojson_bytes

    (folder / "a.geojson").write_bytes(geojson_bytes(label_stack()[1]))
    return folder / "a.geojson"


def moving() -> tuple[np.ndarray, list[Any]]:
    """A movie of a cell that divides, and its tracks."""
    from micro_sam.io.tracks import TrackRow

    labels = np.zeros((4, 40, 56), "uint16")
    labels[:2, 10:20, 10:30], labels[2:, 10:20, 10:18], labels[2:, 10:20, 22:30] = 1, 2, 3
    return labels, [TrackRow(1, 0, 1), TrackRow(2, 2, 3, 1), TrackRow(3, 2, 3, 1)]


def tracks(name: str) -> Make:
    def make(folder: Path) -> Path:
        from micro_sam.io.tracks import save_tracks

        (folder / "in").mkdir()
        return save_tracks(folder / "in" / name, *moving()).parent

    return make


def ctc_truth(folder: Path) -> Path:
    from micro_sam.io.tracks import tracks_from_labels
    from micro_sam.io.tracks.ctc import save_ctc

    labels, rows = moving()
    return save_ctc(folder / "truth", tracks_from_labels(labels, rows=rows), ground_truth=True)


def detections(folder: Path) -> Path:
    lines = ["0;10,5;20;1;;1", "1;11,5;21;2;1;1", "2;12,5;22;3;2;2", "2;12,5;30;4;2;3", "3;13,5;31;5;4;3"]
    (folder / "in").mkdir()
    (folder / "in" / "a.csv").write_text("\n".join(["\ufefft;y;x;id;parent_id;track_id", *lines]))
    return folder / "in"


def weights(name: str) -> Make:
    def make(folder: Path) -> Path:
        import torch

        from micro_sam.models.build import build_model
        from micro_sam.models.checkpoints import save_checkpoint

        torch.manual_seed(0)
        model = build_model("nano")
        if name.endswith(".pt"):
            torch.save(model.state_dict(), folder / name)
        else:
            save_checkpoint(folder / name, model, {"name": "a"})
        return folder / name

    return make


# ---------------------------------------------------------------- how each kind is read


def read_image(path: Path) -> None:
    """As the commands do: opened, understood, all pixels read."""
    from micro_sam.io.checks import check_any
    from micro_sam.io.images import open_image
    from micro_sam.io.lazy import in_memory

    source = open_image(path)
    in_memory(source.data, path)
    in_memory(check_any(source).data, path)


def read_labels(path: Path) -> None:
    from micro_sam.io.labels import load_labels

    load_labels(path)


def read_cache(path: Path) -> None:
    from micro_sam.embeddings.zarr_store import ZarrStore

    store = ZarrStore.open(path)
    for item in store.items():
        store.load(*item)


def read_tracks(path: Path) -> None:
    """As the window does: the file of a folder, with the masks beside it."""
    from micro_sam.io.tracks import load_tracks

    inside = [path / name for name in ("a.xml", "a.csv", "a.geff", "folder") if (path / name).exists()]
    load_tracks(inside[0] if inside else path)


def read_weights(path: Path) -> None:
    from micro_sam.models.checkpoints import load_checkpoint

    for tensor in load_checkpoint(path).state_dict.values():
        tensor.sum()


KINDS: dict[str, tuple[Make, Callable[[Path], None]]] = {
    "tif": (tif(), read_image),
    "tif, compressed": (tif(compression="zlib"), read_image),
    "tif, ImageJ": (tif(imagej=True, metadata={"axes": "ZYX", "unit": "um", "spacing": 2}), read_image),
    "OME-TIFF": (tif(ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}), read_image),
    "png": (picture("png"), read_image),
    "png, colours of 16 bits": (deep_png, read_image),
    "jpg": (picture("jpg"), read_image),
    "npy": (npy, read_image),
    "mrc": (mrc, read_image),
    "hdf5": (hdf5, read_image),
    "n5, raw": (n5("raw"), read_image),
    "n5, gzip": (n5("gzip"), read_image),
    "zarr 2": (zarr_array(2), read_image),
    "zarr 2, Blosc": (zarr_array(2, "blosc"), read_image),
    "zarr 3": (zarr_array(3), read_image),
    "OME-Zarr": (ome_zarr, read_image),
    "embedding cache": (embedding_cache, read_cache),
    "label tif": (label_tif, read_labels),
    "Cellpose": (cellpose, read_labels),
    "GeoJSON": (geojson, read_labels),
    "CTC": (tracks("folder"), read_tracks),
    "CTC, ground truth": (ctc_truth, read_tracks),
    "TrackMate": (tracks("a.xml"), read_tracks),
    "GEFF": (tracks("a.geff"), read_tracks),
    "CSV": (tracks("a.csv"), read_tracks),
    "CSV of detections": (detections, read_tracks),
    "safetensors": (weights("a.safetensors"), read_weights),
    "pt": (weights("a.pt"), read_weights),
}
