"""``micro_sam.replay``: segment all prompted objects of a recorded session anew, without a window."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from micro_sam.cli._common import EMBEDDING_PATH, IMAGE, ImageOptions, ModelOptions, TilingOptions, make_parser, run
from micro_sam.cli._fields import Options, option, read_options
from micro_sam.cli._window import check_device
from micro_sam.session.journal.moving import FILE

EPILOG = """examples:
  micro_sam.replay cells_objects.session -i cells.tif -o again.tif
  micro_sam.replay cells_objects.session -i cells.tif -m vit_h -o with_vit_h.tif --table overlap.csv

Objects that were painted, loaded or found automatically are taken as they were recorded, and listed."""


class RecordedImage(ImageOptions):
    """The image of the session."""

    input: str = option(..., IMAGE, "-i", metavar="PATH")


class RecordedModel(ModelOptions):
    """The model; None: that of the session."""

    has_default: ClassVar[bool] = False


class ReplayOptions(Options):
    """Which session is done again, on what, and where the result goes."""

    session: str = option(..., "the folder of the session", "session", metavar="SESSION")
    image: RecordedImage
    embedding_path: str | None = option(None, EMBEDDING_PATH, "-e", metavar="PATH")
    model: RecordedModel
    tiling: TilingOptions
    output: str | None = option(None, "where the labels go (tif or zarr), tracks: a folder", "-o", metavar="PATH")
    table: str | None = option(None, "the overlap (IoU) of each object as a table (CSV)", metavar="PATH")


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    return make_parser(
        "replay",
        "Segment the prompted objects of a recorded session anew, without a window.",
        ReplayOptions,
        EPILOG,
    )


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = read_options(build_parser(), ReplayOptions, arguments)
    check_device(options.model.device)

    from micro_sam.io.checks import check_image
    from micro_sam.io.images import open_image
    from micro_sam.io.results import check_not_input
    from micro_sam.models.registry import DEFAULT_MODEL
    from micro_sam.session.journal import places, store

    for path in (options.output, options.table):
        check_not_input(path, options.image.input)
    folder = Path(options.session).expanduser()
    contents = store.read(folder.parent if folder.name == FILE else folder)
    header = contents.header
    tool = header.get("tool", "2d")
    source = open_image(options.image.input, options.image.key)
    channel = header.get("image", {}).get("channel")
    checked = check_image(source, tool, channel=None if channel == "colours" else channel, axes=options.image.axes)
    from micro_sam.embeddings.signature import hash_samples
    from micro_sam.io.inputs import as_array

    pixels = source.data if checked.n_channels > 1 else checked.data  # as the window signs it: with all channels
    places.check_image(header, hash_samples(as_array(pixels)), tool, folder)
    settings = header.get("settings", {})
    if options.model.model_type is None and options.model.checkpoint is None:
        options.model.model_type = settings.get("model_type") or DEFAULT_MODEL
    for name in ("tile_shape", "halo"):
        if getattr(options.tiling, name) is None and settings.get(name):
            setattr(options.tiling, name, tuple(settings[name]))
    result = _replay(options, tool, checked, contents.rows)
    _tell(result, options, checked, tool)
    return 0


def _replay(options: ReplayOptions, tool: str, checked: Any, rows: Sequence[Any]) -> Any:
    from tqdm import tqdm

    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.models.build import get_sam_model
    from micro_sam.segmentation.volume.compute import iter_volume_maps
    from micro_sam.segmentation.volume.scripts import maps_of
    from micro_sam.session.replaying import replay

    model = options.model
    predictor = get_sam_model(model.model_type, device=model.device, checkpoint_path=model.checkpoint)
    embeddings, store = open_embeddings(
        predictor,
        checked.data,
        save_path=options.embedding_path,
        ndim=checked.ndim,
        tile_shape=options.tiling.tile_shape,
        halo=options.tiling.halo,
        smooth_noise=True,
    )
    for _ in tqdm(iter_embeddings(predictor, checked.data, store), desc="Embedding", disable=None):
        pass

    def make_maps() -> Any:
        maps = maps_of(predictor, embeddings, checked.scale)
        for _ in tqdm(iter_volume_maps(predictor, embeddings, maps), desc="Maps", disable=None):
            pass
        return maps

    result = None
    with tqdm(desc="Actions", disable=None) as bar:
        for item in replay(tool, checked.shape, rows, predictor, embeddings, make_maps):
            if isinstance(item, tuple):
                bar.total = item[1]
                bar.update(item[0] - bar.n)
            else:
                result = item
    return result


def _tell(result: Any, options: ReplayOptions, checked: Any, tool: str) -> None:
    from micro_sam.io.labels import save_labels
    from micro_sam.io.tracks import save_tracks

    session = result.session
    if options.output is not None:
        path = Path(options.output)
        if tool == "tracking" and path.suffix.lower() not in (".tif", ".tiff", ".zarr"):
            save_tracks(path, session.committed, session.tracks.lineage.to_rows(), scale=checked.scale)
        else:
            save_labels(path, session.committed, checked.scale)
    if options.table is not None:
        _write_table(Path(options.table), result)
    print(f"{len(result.ious)} prompted objects, mean IoU with the recorded ones: " + _number(result.mean_iou))
    for i, value in sorted(result.ious.items(), key=lambda pair: pair[1])[:5]:
        if value < 0.9:
            print(f"  object {i}: {value:.3f}")
    if result.taken:
        names = ", ".join(f"{i} ({source})" for i, source in sorted(result.taken.items()))
        print(f"taken as recorded: {names}")
    for problem in result.problems:
        print(f"not done again: {problem}", file=sys.stderr)


def _write_table(path: Path, result: Any) -> None:
    import io

    from micro_sam.io.atomic import write_bytes

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "iou", "taken_as_recorded"])
    rows = [(i, f"{value:.4f}", "") for i, value in result.ious.items()]
    writer.writerows(sorted([*rows, *((i, "", source) for i, source in result.taken.items())]))
    write_bytes(path, out.getvalue().encode())


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


if __name__ == "__main__":
    raise SystemExit(main())
