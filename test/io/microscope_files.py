"""Small files of microscope makers, written as their programs write them."""

import struct
from pathlib import Path

import numpy as np


def write_lif(path: Path, images: dict[str, np.ndarray]) -> None:
    """A Leica file with images (Z, C, Y, X) of uint16, pixels of 0.2 µm and slices of 1 µm."""
    elements, blocks = [], []
    for number, (name, data) in enumerate(images.items()):
        nz, nc, ny, nx = data.shape
        channels = "".join(
            '<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" NameOfMeasuredQuantity="" '
            f'BytesInc="{c * nx * ny * 2}" Min="0" '
            f'Max="65535" Unit="" LUTName="Gray" IsLUTInverted="0" BitInc="0"/>'
            for c in range(nc)
        )
        steps = ((1, nx, 2, 0.2e-6), (2, ny, 2 * nx, 0.2e-6), (3, nz, 2 * nx * ny * nc, 1e-6))
        dimensions = "".join(
            f'<DimensionDescription DimID="{d}" NumberOfElements="{n}" Origin="0" Length="{(n - 1) * size}" Unit="m" '
            f'BitInc="0" BytesInc="{step}"/>'
            for d, n, step, size in steps
        )
        elements.append(
            f'<Element Name="{name}" Visibility="1" UniqueID="{number}"><Data><Image><ImageDescription>'
            f"<Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions></ImageDescription></Image></Data>"
            f'<Memory Size="{data.nbytes}" MemoryBlockID="MemBlock_{number}"/><Children/></Element>'
        )
        blocks.append((f"MemBlock_{number}", np.ascontiguousarray(data).tobytes()))
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="test.lif" Visibility="1"><Memory Size="0" '
        f'MemoryBlockID="MemBlock_root"/><Children>{"".join(elements)}</Children></Element></LMSDataContainerHeader>'
    )
    text = xml.encode("utf-16-le")
    raw = struct.pack("<IIBI", 0x70, len(text) + 5, 0x2A, len(xml)) + text
    for name, data in [("MemBlock_root", b""), *blocks]:
        label = name.encode("utf-16-le")
        raw += struct.pack("<IIBQBI", 0x70, 14 + len(label), 0x2A, len(data), 0x2A, len(name)) + label + data
    path.write_bytes(raw)
