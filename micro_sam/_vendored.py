"""Small functions under the names that scripts of micro-sam 1.x import from here. The code is in ``segmentation``."""

from micro_sam.compat.masks import batched_mask_to_box, mask_to_rle_pytorch

__all__ = ["batched_mask_to_box", "mask_to_rle_pytorch"]
