"""Models for the BioImage Model Zoo. A front door for scripts; the code is in ``models.export``."""

from micro_sam.compat.bioimageio import export_sam_model

__all__ = ["export_sam_model"]
