"""The architectures and their parts, with random weights."""

from __future__ import annotations

from dataclasses import dataclass

from micro_sam.errors import InputError
from micro_sam.models.modules.image_encoder import ImageEncoderViT
from micro_sam.models.modules.mask_decoder import MaskDecoder
from micro_sam.models.modules.nano import DenseHead, NanoEncoder
from micro_sam.models.modules.prompt_encoder import PromptEncoder
from micro_sam.models.modules.tiny_vit import TinyViT
from micro_sam.models.modules.transformer import TwoWayTransformer


@dataclass(frozen=True)
class Architecture:
    """Sizes of an architecture.

    Attributes
    ----------
    image_size : int
        Side of the square input image, in pixels.
    grid_size : int
        Side g of the feature grid; masks come out at 4 g x 4 g.
    embed_dim : int
        Channels of features and prompt tokens.
    decoder_mlp_dim : int
        Hidden width of the MLPs in the mask decoder's transformer.
    iou_hidden_dim : int
        Hidden width of the head that predicts the masks' quality.
    decode_window : int | None
        Side of the window around a prompt that its mask is decoded in, in feature positions; None is the whole grid.
    close_up : int | None
        Side of a close-up in pixels of the input: a second look at the surroundings of an object that is small in the
        image, enlarged. It costs an encoder pass of that size per object; None where the encoder is too dear.
    whole_up_to : float
        2D images whose longest side is at most so many times ``image_size`` are encoded whole, larger ones in tiles.
        Tiles cost more the dearer the encoder.
    smallest_halo : int
        Halo of the tiles of large images in pixels of the input, at least: more halo is more pixels that are encoded
        twice. For nano 32 was as good as 64 on mosaics of nuclei, stained tissue, smears, axons and adherent cells.
    vit : tuple[int, int, int, tuple[int, ...]] | None
        Width, depth, heads and global attention blocks of a plain vision transformer.
    """

    image_size: int = 1024
    grid_size: int = 64
    embed_dim: int = 256
    decoder_mlp_dim: int = 2048
    iou_hidden_dim: int = 256
    decode_window: int | None = None
    close_up: int | None = None
    whole_up_to: float = 2.0
    smallest_halo: int = 128
    vit: tuple[int, int, int, tuple[int, ...]] | None = None


ARCHITECTURES: dict[str, Architecture] = {
    "vit_h": Architecture(vit=(1280, 32, 16, (7, 15, 23, 31))),
    "vit_l": Architecture(vit=(1024, 24, 16, (5, 11, 17, 23))),
    "vit_b": Architecture(vit=(768, 12, 12, (2, 5, 8, 11))),
    "vit_t": Architecture(),
    "nano": Architecture(
        image_size=512,
        embed_dim=128,
        decoder_mlp_dim=512,
        iou_hidden_dim=128,
        decode_window=32,
        close_up=256,
        whole_up_to=1.5,
        smallest_halo=32,
    ),
}


def get_architecture(name: str) -> Architecture:
    """The sizes of the architecture ``name``; an unknown name is an `InputError` that lists the known ones."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise InputError(f"There is no architecture {name!r}; choose one of {', '.join(ARCHITECTURES)}.") from None


def make_image_encoder(name: str) -> ImageEncoderViT | TinyViT | NanoEncoder:
    """Image encoder of the architecture ``name`` with random weights."""
    sizes = get_architecture(name)
    if sizes.vit is not None:
        width, depth, heads, global_blocks = sizes.vit
        return ImageEncoderViT(sizes.image_size, 16, width, depth, heads, 4.0, sizes.embed_dim, 14, global_blocks)
    if name == "vit_t":
        return TinyViT(sizes.image_size, sizes.embed_dim)
    return NanoEncoder(sizes.image_size, sizes.embed_dim)


def make_prompt_encoder(name: str) -> PromptEncoder:
    """Prompt encoder of the architecture ``name`` with random weights."""
    sizes = get_architecture(name)
    return PromptEncoder(sizes.embed_dim, (sizes.grid_size,) * 2, (sizes.image_size,) * 2, mask_in_chans=16)


def make_mask_decoder(name: str) -> MaskDecoder:
    """Mask decoder of the architecture ``name`` with random weights."""
    sizes = get_architecture(name)
    return MaskDecoder(
        transformer_dim=sizes.embed_dim,
        transformer=TwoWayTransformer(2, sizes.embed_dim, num_heads=8, mlp_dim=sizes.decoder_mlp_dim),
        iou_head_hidden_dim=sizes.iou_hidden_dim,
    )


def make_dense_head(name: str) -> DenseHead | None:
    """The dense head that belongs to the architecture ``name`` itself; None for the others."""
    return DenseHead(get_architecture(name).embed_dim) if name == "nano" else None
