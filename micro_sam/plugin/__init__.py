"""What napari finds through ``napari.yaml``: widgets, samples, a reader, a writer; imported when it is used."""
