"""Options of the commands that open an annotator, and what becomes of them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from micro_sam.cli._common import EMBEDDING_PATH, PREFER_DECODER, ImageOptions, TilingOptions, WindowModel
from micro_sam.cli._fields import Options, option
from micro_sam.cli._window import check_device, check_screen


def _result_option(noun: str, short: str) -> Any:
    tip = (
        f"an earlier {noun} to go on with: labels of any program, also of Cellpose (_seg.npy), ROIs of ImageJ or "
        "StarDist (zip), GeoJSON of QuPath"
    )
    return option(None, tip, f"-{short}", f"--{noun}_result", metavar="PATH")


def _key_option(noun: str, short: str) -> Any:
    return option(None, "the dataset of that result in a container", f"-{short}k", f"--{noun}_key", metavar="KEY")


class AnnotatorOptions(Options):
    """Options of an annotator of images and volumes."""

    image: ImageOptions
    embedding_path: str | None = option(None, EMBEDDING_PATH, "-e", metavar="PATH")
    result: str | None = _result_option("segmentation", "s")
    result_key: str | None = _key_option("segmentation", "s")
    model: WindowModel
    tiling: TilingOptions
    decoder_path: str | None = option(None, "a decoder for automatic segmentation, in its own file", metavar="PATH")
    prefer_decoder: bool = option(True, PREFER_DECODER)
    show_embeddings: bool = option(False, "show the embeddings as an image layer")
    precompute_amg_state: bool = option(
        False, "prepare the automatic segmentation at the start, so that it answers at once later"
    )
    session: str | None = option(
        None,
        "where everything that is done is kept, and what to go on with if it is there (default: beside the result once "
        "it is saved)",
        metavar="FOLDER",
    )
    resume: bool | Literal["ask"] = option(
        "ask",
        "what becomes of an earlier session",
        switches={
            "--resume": (True, "go on with the last session on this image at once"),
            "--new_session": (False, "begin a new session and do not offer to go on with an earlier one"),
        },
    )
    noun: ClassVar[str] = "segmentation"

    def arguments(self) -> dict[str, Any]:
        """For ``annotator_2d``, ``annotator_3d`` or ``annotator_tracking``, once a window can be opened here.

        Raises
        ------
        InputError
            When there is no screen, or not this device.
        """
        check_screen()
        check_device(self.model.device)
        same = ("embedding_path", "show_embeddings", "precompute_amg_state", "decoder_path", "prefer_decoder")
        return {
            "raw": self.image.input,
            "key": self.image.key,
            "axes": self.image.axes,
            f"{self.noun}_result": self.result,
            f"{self.noun}_key": self.result_key,
            "model_type": self.model.model_type,
            "checkpoint_path": self.model.checkpoint,
            "device": self.model.device,
            "tile_shape": self.tiling.tile_shape,
            "halo": self.tiling.halo,
            "session": self.session,
            "resume": self.resume,
            **{name: getattr(self, name) for name in same},
        }


class TrackingOptions(AnnotatorOptions):
    """Options of the annotator of movies."""

    result: str | None = _result_option("tracking", "t")
    result_key: str | None = _key_option("tracking", "t")
    noun: ClassVar[str] = "tracking"
