"""Samples, results, sessions and caches as layers; labels and tracks into files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from micro_sam.embeddings.embeddings import as_embeddings
from micro_sam.errors import InputError, OutputError
from micro_sam.io.marks import is_zarr, read_kind
from micro_sam.session.journal.moving import FILE

if TYPE_CHECKING:
    from micro_sam.io.tracks import Tracks

LayerData = tuple[Any, dict[str, Any], str]
UNITS = "units of micro_sam"
"""Metadata of a layer: the units of its scale. napari's own units stay pixels, as those of images that it opens: layers
with different units do not lie on each other."""
MICROMETER, SECOND = "micrometer", "second"
MOST_RESULTS = 100
"""Label images of a folder that are opened together; napari is slow with more layers."""


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
    return read_results if _results(path) else None


def _results(folder: Path) -> list[Path]:
    """The label images of a folder of results; none where a tif in it is of another program."""
    if not folder.is_dir() or is_zarr(folder):
        return []
    tifs = sorted(file for file in folder.glob("*.tif") if not file.name.startswith("."))
    return tifs if all(read_kind(file) == "labels" for file in tifs) else []


def read_labels(path: Path) -> list[LayerData]:
    """A label image as a layer, where it lies by the size of its pixels."""
    from micro_sam.io.images import open_source
    from micro_sam.io.label_reading import is_labels_only, load_labels

    source = None if is_labels_only(path) else open_source(path, as_labels=True)
    labels = load_labels(path if source is None else source)
    scale = None if source is None or source.scale is None else source.scale[-labels.ndim :]
    return [(labels, {"name": path.name.split(".")[0], **_scaled(scale)}, "labels")]


def read_results(path: Path) -> list[LayerData]:
    """The label images of a folder, for instance of a series; the first one is shown.

    Raises
    ------
    InputError
        When there are more than `MOST_RESULTS`.
    """
    files = _results(path)
    if len(files) > MOST_RESULTS:
        raise InputError(f"{path} holds {len(files)} results. Open those that you want to see, up to {MOST_RESULTS}.")
    layers = [layer for file in files for layer in read_labels(file)]
    for _, options, _ in layers[1:]:
        options["visible"] = False  # they belong to different images
    return layers


def read_tracks(path: Path) -> list[LayerData]:
    """Tracks with their divisions, and their masks where there are any."""
    from micro_sam.io.tracks import load_tracks

    tracks, name = load_tracks(path), path.name.split(".")[0]
    layers: list[LayerData] = []
    if tracks.labels is not None:
        layers.append((tracks.labels, {"name": f"{name} masks", **_scaled(tracks.scale, SECOND)}, "labels"))
    layers += _lines(tracks, name)
    if not layers:
        raise InputError(f"{path} holds no tracks.")
    return layers


def _lines(tracks: Tracks, name: str) -> list[LayerData]:
    """The layer of tracks, without which napari does where there are none."""
    if not len(tracks.positions):
        return []
    graph = {row.track_id: [row.parent] for row in tracks.rows if row.parent}
    return [(tracks.positions, {"name": name, "graph": graph, **_scaled(tracks.scale, SECOND)}, "tracks")]


def read_session(path: Path) -> list[LayerData]:
    """The committed objects of a session, the current one if there is any, and tracks; the session is not changed."""
    from micro_sam.io.tracks import tracks_from_labels
    from micro_sam.session.journal import store
    from micro_sam.session.replaying import KINDS

    contents = store.read(path)
    image = contents.header.get("image", {})
    shape, scale = tuple(image.get("shape") or ()), image.get("scale")
    if not shape:
        raise InputError(f"The session in {path} does not say what its image was.")
    tool = contents.header.get("tool") or ("2d" if len(shape) == 2 else "3d")
    if tool not in KINDS:
        raise InputError(f"The session in {path} is of the tool '{tool}', which this program does not know.")
    session = KINDS[tool](shape)
    session.restore(contents.rows, bool(contents.damaged))
    first = SECOND if tool == "tracking" else MICROMETER
    name, scaled = path.name.split(".")[0], _scaled(scale if scale and len(scale) == len(shape) else None, first)
    layers: list[LayerData] = [(session.committed, {"name": name, **scaled}, "labels")]
    if session.has_current:
        layers.append((session.current, {"name": f"{name} current", **scaled}, "labels"))
    if tool == "tracking":
        tracks = tracks_from_labels(session.committed, rows=session.tracks.lineage.to_rows(), scale=scaled.get("scale"))
        layers += _lines(tracks, f"{name} tracks")
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

    with _heard():
        save_labels(Path(path), _labels(data), _scale(attributes, MICROMETER), replace_unmarked=True)
    return [path]


def write_tracks(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write a layer of tracks, with its masks where their layer is given, too.

    What exists is replaced only if it is earlier tracks of this program: napari asks about files, not about folders.

    Parameters
    ----------
    path : str
        ``NAME.geff``, ``NAME.xml`` (TrackMate) or ``NAME.csv``; without a suffix it is a GEFF.
    layers : sequence
        A layer of tracks of 2D images, and a layer of labels (T, Y, X) that are the ids of its tracks, or none.

    Raises
    ------
    OutputError
        When the two contradict each other, the format cannot hold them, or it cannot be written; what was there before
        is intact.
    """
    from micro_sam.io.tracks import write_tracks as write

    with _heard():
        return [str(write(path if Path(path).suffix else f"{path}.geff", _tracks(layers)))]


def write_challenge(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write tracks and their masks into a folder of the Cell Tracking Challenge; see `write_tracks`."""
    from micro_sam.io.tracks import write_tracks as write

    with _heard():
        return [str(write(path, _tracks(layers), "ctc"))]


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """napari takes a ValueError of a writer for "this is not for me", and does not show it."""
    try:
        yield
    except InputError as error:
        raise OutputError(str(error)) from error


def _tracks(layers: Sequence[LayerData]) -> Tracks:
    from micro_sam.io.tracks import tracks_from_labels, tracks_from_positions

    given = {kind: (data, attributes) for data, attributes, kind in layers}
    positions, attributes = given["tracks"]
    mothers = {int(track): np.atleast_1d(found) for track, found in (attributes.get("graph") or {}).items()}
    merged = next((track for track, found in mothers.items() if len(found) > 1), None)
    if merged is not None:
        raise InputError(f"Track {merged} has {len(mothers[merged])} mothers. A track has one at most.")
    parents = {track: int(found[0]) for track, found in mothers.items() if len(found)}
    scale: Any = _scale(attributes, SECOND)
    tracks = tracks_from_positions(positions, parents, scale)
    if "labels" not in given:
        return tracks
    return tracks_from_labels(_labels(given["labels"][0]), rows=tracks.rows, scale=scale)


def _labels(data: Any) -> np.ndarray:
    """The pixels of a layer of labels, the finest of a pyramid."""
    return np.asarray(data[0] if isinstance(data, (list, tuple)) else data)


def _scale(attributes: Mapping[str, Any], first: str) -> tuple[float, ...] | None:
    """The scale of a layer where it is in µm, but for `first` along the first axis; else None."""
    units = (attributes.get("metadata") or {}).get(UNITS) or attributes.get("units") or ()
    known = [MICROMETER if str(unit) == "µm" else str(unit) for unit in units]
    is_known = bool(known) and known == [first, *[MICROMETER] * (len(known) - 1)]
    return tuple(float(size) for size in attributes["scale"]) if is_known else None


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


def _scaled(scale: Any, first: str = MICROMETER) -> dict[str, Any]:
    """Options of a layer for a scale in µm, but for `first` along the first axis."""
    if scale is None:
        return {}
    return {"scale": tuple(scale), "metadata": {UNITS: [first, *[MICROMETER] * (len(scale) - 1)]}}
