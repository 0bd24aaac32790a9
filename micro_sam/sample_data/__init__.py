"""Images to try the tools on: some in the installation, some generated, some behind a hash-checked download."""

from micro_sam.sample_data.catalogue import open_sample, sample_names
from micro_sam.sample_data.sample import Sample

__all__ = ["Sample", "open_sample", "sample_names"]
