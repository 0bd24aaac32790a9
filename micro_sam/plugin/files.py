"""Samples, results, sessions and caches as layers; labels into files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.errors import InputError
from micro_sam.io.marks import is_zarr, read_kind
from micro_sam.session.journal.moving import FILE

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[Any], list[LayerData]] | None:
    """What reads a path: results, tracks, sessions and embeddings of this program. None: it is of another program.

    Parameters
    ----------
    path : str or list of str
        File or folder; several are not read together.
    """
    if isinstance(path, (list, tuple)):
        if len(path) != 1:
            return None
        path = path[0]
    reader = _reader(Path(path))
    return None if reader is None else partial(_read, reader)


def _read(reader: Callable[[Path], list[LayerData]], path: str | list[str]) -> list[LayerData]:
    return reader(Path(path[0] if isinstance(path, (list, tuple)) else path))


def _reader(path: Path) -> Callable[[Path], list[LayerData]] | None:
    from micro_sam.embeddings.zarr_layout import is_cache
    from micro_sam.io.tracks.ctc import is_ctc
    from micro_sam.io.tracks.geff import is_geff

    if (path / FILE).is_file():
        return read_session
    if path.is_dir() and is_zarr(path) and is_cache(path):
        return read_cache
    kind = read_kind(path)
    if kind in ("labels", "classes", "track_classes"):
        return read_labels
    if kind == "tracks" or (path.is_dir() and (is_geff(path) or is_ctc(path))):
        return read_tracks
    return None


def read_labels(path: Path) -> list[LayerData]:
    """A label image as a layer, where it lies by the size of its pixels."""
    from micro_sam.io.images import open_source
    from micro_sam.io.label_reading import is_labels_only, load_labels

    source = None if is_labels_only(path) else open_source(path, as_labels=True)
    labels = load_labels(path if source is None else source)
    scale = None if source is None or source.scale is None else source.scale[-labels.ndim :]
    return [(labels, {"name": path.name.split(".")[0], **_scaled(scale)}, "labels")]


def read_tracks(path: Path) -> list[LayerData]:
    """Tracks with their divisions, and their masks where there are any."""
    from micro_sam.io.tracks import load_tracks

    tracks = load_tracks(path)
    name, scaled = path.name.split(".")[0], _scaled(tracks.scale)
    layers: list[LayerData] = []
    if tracks.labels is not None:
        layers.append((tracks.labels, {"name": f"{name} masks", **scaled}, "labels"))
    if len(tracks.positions):
        graph = {row.track_id: [row.parent] for row in tracks.rows if row.parent}
        layers.append((tracks.positions, {"name": name, "graph": graph, **scaled}, "tracks"))
    if not layers:
        raise InputError(f"{path} holds no tracks.")
    return layers


def read_session(path: Path) -> list[LayerData]:
    """The committed objects of a session, and the current one if there is any; the session is not changed."""
    from micro_sam.session.journal import store
    from micro_sam.session.session import Session

    contents = store.read(path)
    shape = contents.header.get("image", {}).get("shape", ())
    if not shape:
        raise InputError(f"The session in {path} does not say what its image was.")
    session = Session(shape)
    session.restore(contents.rows, bool(contents.damaged))
    name = path.name.split(".")[0]
    layers: list[LayerData] = [(session.committed, {"name": name}, "labels")]
    if session.has_current:
        layers.append((session.current, {"name": f"{name} current"}, "labels"))
    return layers


def read_cache(path: Path) -> list[LayerData]:
    """The embeddings of an image as colours: what the network tells apart."""
    from micro_sam.embeddings.pictures import project_embeddings_for_visualization

    picture, scale = project_embeddings_for_visualization(as_embeddings(path))
    translate = [(size - 1) / 2 for size in scale]
    return [
        (picture, {"name": f"{path.stem} embeddings", "rgb": True, "scale": scale, "translate": translate}, "image")
    ]


def write_labels(path: str, data: Any, attributes: Mapping[str, Any]) -> list[str]:
    """Write a label layer; what exists at the path was agreed on in napari's dialog, and stays as ``NAME.bak``.

    Parameters
    ----------
    path : str
        The suffix chooses the format, see `save_labels`.
    data : array
        Labels (Y, X) or (Z, Y, X).
    attributes : mapping
        Of the layer: ``scale`` and ``units`` are kept where they are lengths.
    """
    from micro_sam.io.labels import save_labels

    units = [str(unit) for unit in attributes.get("units") or ()]
    scale = attributes.get("scale") if units and all(unit in ("micrometer", "µm") for unit in units) else None
    labels = np.asarray(data[0] if isinstance(data, (list, tuple)) else data)
    save_labels(Path(path), labels, None if scale is None else tuple(scale), replace_unmarked=True)
    return [path]


def sample_cell() -> list[LayerData]:
    """A cell in phase contrast."""
    return _sample("cell")


def sample_coins() -> list[LayerData]:
    """Coins: large, clear objects."""
    return _sample("coins")


def sample_tissue() -> list[LayerData]:
    """Stained tissue in colours."""
    return _sample("immunohistochemistry")


def sample_volume() -> list[LayerData]:
    """Nuclei in a volume."""
    return _sample("nuclei_volume")


def sample_movie() -> list[LayerData]:
    """Cells that divide."""
    return _sample("dividing_cells")


def _sample(name: str) -> list[LayerData]:
    from micro_sam.sample_data import open_sample

    sample = open_sample(name)
    options: dict[str, Any] = {"name": name}
    if sample.scale and len(sample.scale) == sample.image.ndim:
        options["scale"] = sample.scale
    return [(sample.image, options, "image")]


def _scaled(scale: Any) -> dict[str, Any]:
    return {} if scale is None else {"scale": tuple(scale)}
