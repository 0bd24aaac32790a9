"""One file format a module. `micro_sam.io.images.open_image` is the way in; it goes by what a file holds."""
