"""The convolutional decoder for automatic segmentation of models fine-tuned for microscopy.

A UNETR (Hatamizadeh et al. 2022) without skip connections to the encoder: it reads the image features alone. The
architecture and the state-dict names are those of the library torch-em, in which such decoders are trained (Archit et
al. 2025, *Segment Anything for Microscopy*).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from micro_sam.errors import ModelError

LEVELS = 3  # of the U-Net; a fourth step brings the maps to the size of the input image


class Upsampler(nn.Module):
    """Doubles height and width: a projection of the channels (1 x 1) and bilinear interpolation.

    Both are linear and the weights of the interpolation sum to one, so that the order is free; projecting the small
    map first takes a quarter of the arithmetic.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=False)


class TransposedUpsampler(nn.Module):
    """Doubles height and width with a transposed convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class SingleConv(nn.Module):
    """A 3 x 3 convolution, one level down in the state dict."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class UpBlock(nn.Module):
    """Upsampling, convolution, batch normalisation, ReLU: (B, D, h, w) -> (B, D', 2 h, 2 w)."""

    def __init__(self, in_channels: int, out_channels: int, upsampler: type[nn.Module]) -> None:
        super().__init__()
        self.block = nn.Sequential(
            upsampler(in_channels, out_channels), SingleConv(out_channels), nn.BatchNorm2d(out_channels), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class ConvBlock(nn.Module):
    """Twice: instance normalisation, 3 x 3 convolution, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.InstanceNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(),
            nn.InstanceNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class UpPath(nn.Module):
    """The expanding half of the U-Net."""

    def __init__(self, widths: list[int], upsampler: type[nn.Module]) -> None:
        super().__init__()
        steps = list(zip(widths[:-1], widths[1:], strict=True))
        self.blocks = nn.ModuleList(ConvBlock(wide, narrow) for wide, narrow in steps)
        self.samplers = nn.ModuleList(upsampler(wide, narrow) for wide, narrow in steps)

    def forward(self, x: Tensor, laterals: list[Tensor]) -> Tensor:
        for block, sampler, lateral in zip(self.blocks, self.samplers, laterals, strict=True):
            x = sampler(x)
            # The lateral map has twice the channels of x; those in the middle are used, as in torch-em.
            first = (lateral.shape[1] - x.shape[1]) // 2
            x = block(torch.cat([x, lateral[:, first : first + x.shape[1]]], dim=1))
        return x


class UNETRDecoder(nn.Module):
    """Features (B, C, g, g) -> maps (B, 3, 16 g, 16 g) in 0..1 at the resolution of the model's input.

    The maps: probability of foreground; distance to the object's centre, per object from 0 there to 1 far away;
    closeness of the object's boundary, per object from 1 there to 0 in its middle.

    Parameters
    ----------
    embed_dim : int
        Channels C of the features.
    out_channels : int
        Number of maps.
    width : int
        Channels at the finest level; each coarser one has twice as many.
    transposed : bool
        Transposed convolutions instead of interpolation.
    """

    kind = "distances"
    scale = 2 ** (LEVELS + 1)  # map positions per feature position, along each axis

    def __init__(self, embed_dim: int = 256, out_channels: int = 3, width: int = 64, transposed: bool = False) -> None:
        super().__init__()
        upsampler = TransposedUpsampler if transposed else Upsampler
        widths = [width * 2**level for level in range(LEVELS, -1, -1)]  # coarse to fine
        self.base = ConvBlock(embed_dim, widths[0])
        self.deconv1 = UpBlock(embed_dim, widths[0], upsampler)
        self.deconv2 = UpBlock(widths[0], widths[1], upsampler)
        self.deconv3 = UpBlock(widths[1], widths[2], upsampler)
        self.deconv4 = UpBlock(widths[2], widths[3], upsampler)
        self.decoder = UpPath(widths, upsampler)
        self.deconv_out = upsampler(width, width)
        self.decoder_head = ConvBlock(2 * width, width)
        self.out_conv = nn.Conv2d(width, out_channels, 1)

    @classmethod
    def for_state(cls, state: Mapping[str, Tensor]) -> UNETRDecoder:
        """A decoder with the sizes and the kind of upsampling of a state dict; its weights are not loaded.

        Raises
        ------
        ModelError
            When the state dict is not one of such a decoder, or needs more than the image features.
        """
        if "deconv2.0.block.1.block.weight" in state:
            raise ModelError(
                "This decoder reads intermediate layers of the image encoder (an early form of such decoders), which "
                "is not supported. Use a newer version of the model, or the model without its decoder."
            )
        if "base.block.1.weight" not in state or "out_conv.weight" not in state:
            raise ModelError("This is not a decoder for instance segmentation: it has other weights than such a one.")
        out_channels, width = state["out_conv.weight"].shape[:2]
        return cls(state["base.block.1.weight"].shape[1], out_channels, width, "deconv_out.block.weight" in state)

    def forward(self, features: Tensor) -> Tensor:
        z9 = self.deconv1(features)
        z6 = self.deconv2(z9)
        z3 = self.deconv3(z6)
        x = self.decoder(self.base(features), [z9, z6, z3])
        x = torch.cat([self.deconv_out(x), self.deconv4(z3)], dim=1)
        return self.out_conv(self.decoder_head(x)).sigmoid()
