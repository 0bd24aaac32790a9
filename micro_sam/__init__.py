"""Interactive segmentation and tracking of microscopy images with Segment Anything.

Importing the package costs nothing: the rooms (see ``docs/architecture.md``) are imported when they are used.
"""

__version__ = "0.1.0"
