"""Our model as a stock ``segment_anything`` model. The only module that imports segment_anything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import cast

import segment_anything.modeling as stock
from torch import nn

from micro_sam.models.sam import Sam


def to_segment_anything(sam: Sam) -> stock.Sam:
    """A stock model that shares the parameters of ``sam``; encoders that stock does not know are used as they are.

    A dense head is not part of it. Never call this while a window is open: segment_anything imports torchvision.
    """
    model = stock.Sam(_image_encoder(sam.image_encoder), _prompt_encoder(sam), _mask_decoder(sam))
    model.to(sam.device)
    for name in ("prompt_encoder", "mask_decoder"):
        share_parameters(getattr(sam, name), getattr(model, name))
    if model.image_encoder is not sam.image_encoder:
        share_parameters(sam.image_encoder, model.image_encoder)
    return model.train(sam.training)


def share_parameters(source: nn.Module, target: nn.Module) -> None:
    """Lets ``target`` use the very parameters and buffers of ``source``, which have the same names."""
    for tensors, register in (
        (source.named_parameters(), "register_parameter"),
        (source.named_buffers(), "register_buffer"),
    ):
        for name, tensor in tensors:
            path, _, leaf = name.rpartition(".")
            getattr(target.get_submodule(path), register)(leaf, tensor)


def _image_encoder(encoder: nn.Module) -> nn.Module:
    from micro_sam.models.modules.image_encoder import Block, ImageEncoderViT

    if not isinstance(encoder, ImageEncoderViT):
        return encoder
    blocks = cast("Sequence[Block]", encoder.blocks)
    block = blocks[0]
    width = block.norm1.weight.shape[0]
    return stock.ImageEncoderViT(
        img_size=encoder.img_size,
        patch_size=encoder.patch_embed.proj.kernel_size[0],
        embed_dim=width,
        depth=len(encoder.blocks),
        num_heads=block.attn.num_heads,
        mlp_ratio=block.mlp.lin1.out_features / width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=tuple(i for i, b in enumerate(blocks) if b.window_size == 0),
        window_size=max(b.window_size for b in blocks),
        out_chans=encoder.neck[0].out_channels,
    )


def _prompt_encoder(sam: Sam) -> stock.PromptEncoder:
    encoder = sam.prompt_encoder
    return stock.PromptEncoder(
        embed_dim=encoder.embed_dim,
        image_embedding_size=encoder.image_embedding_size,
        input_image_size=encoder.input_image_size,
        mask_in_chans=encoder.mask_downscaling[3].out_channels,
    )


def _mask_decoder(sam: Sam) -> stock.MaskDecoder:
    decoder = sam.mask_decoder
    transformer = decoder.transformer
    return stock.MaskDecoder(
        transformer_dim=decoder.transformer_dim,
        transformer=stock.TwoWayTransformer(
            depth=len(transformer.layers),
            embedding_dim=decoder.transformer_dim,
            num_heads=transformer.num_heads,
            mlp_dim=transformer.blocks[0].mlp.lin1.out_features,
        ),
        num_multimask_outputs=decoder.num_multimask_outputs,
        iou_head_depth=len(decoder.iou_prediction_head.layers),
        iou_head_hidden_dim=decoder.iou_prediction_head.layers[0].out_features,
    )
