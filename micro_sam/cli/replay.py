"""``micro_sam.replay``: segment all prompted objects of a recorded session anew, without a window."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from micro_sam.cli._common import add_embedding_path, add_input, add_model, add_tiling, make_parser, parse, run
from micro_sam.cli._window import check_device
from micro_sam.session.journal.moving import FILE

EPILOG = """examples:
  micro_sam.replay cells_objects.session -i cells.tif -o again.tif
  micro_sam.replay cells_objects.session -i cells.tif -m vit_h -o with_vit_h.tif --table overlap.csv

Objects that were painted, loaded or found automatically are taken as they were recorded, and listed."""


def build_parser() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = make_parser("replay", "Segment the prompted objects of a recorded session anew, without a window.")
    parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    parser.add_argument("session", metavar="SESSION", help="the folder of the session")
    add_input(parser, required=True)
    add_embedding_path(parser)
    add_model(parser)
    add_tiling(parser)
    parser.add_argument("-o", "--output", metavar="PATH", help="where the labels go (tif or zarr), tracks: a folder")
    parser.add_argument("--table", metavar="PATH", help="the overlap (IoU) of each object as a table (CSV)")
    return parser


@run
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = build_parser()
    given = parser.parse_args(arguments)
    options = parse(parser, arguments)
    check_device(options.device)

    from micro_sam.io.checks import check_image
    from micro_sam.io.images import open_image
    from micro_sam.io.results import check_not_input
    from micro_sam.session.journal import places, store

    for path in (options.output, options.table):
        check_not_input(path, options.input)
    folder = Path(options.session).expanduser()
    contents = store.read(folder.parent if folder.name == FILE else folder)
    header = contents.header
    tool = header.get("tool", "2d")
    source = open_image(options.input, options.key)
    channel = header.get("image", {}).get("channel")
    checked = check_image(source, tool, channel=None if channel == "colours" else channel, axes=options.axes)
    from micro_sam.embeddings.signature import hash_samples
    from micro_sam.io.inputs import as_array

    pixels = source.data if checked.n_channels > 1 else checked.data  # as the window signs it: with all channels
    places.check_image(header, hash_samples(as_array(pixels)), tool, folder)
    if given.model_type is None and given.checkpoint is None:
        options.model_type = header.get("settings", {}).get("model_type") or options.model_type
    for name in ("tile_shape", "halo"):
        if getattr(options, name) is None and header.get("settings", {}).get(name):
            setattr(options, name, tuple(header["settings"][name]))
    result = _replay(options, tool, checked, contents.rows)
    _tell(result, options, checked, tool)
    return 0


def _replay(options: argparse.Namespace, tool: str, checked: Any, rows: Sequence[Any]) -> Any:
    from tqdm import tqdm

    from micro_sam.embeddings.compute import iter_embeddings, open_embeddings
    from micro_sam.models.build import get_sam_model
    from micro_sam.segmentation.volume.compute import iter_volume_maps
    from micro_sam.segmentation.volume.scripts import maps_of
    from micro_sam.session.replaying import replay

    predictor = get_sam_model(options.model_type, device=options.device, checkpoint_path=options.checkpoint)
    embeddings, store = open_embeddings(
        predictor,
        checked.data,
        save_path=options.embedding_path,
        ndim=checked.ndim,
        tile_shape=options.tile_shape,
        halo=options.halo,
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


def _tell(result: Any, options: argparse.Namespace, checked: Any, tool: str) -> None:
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
