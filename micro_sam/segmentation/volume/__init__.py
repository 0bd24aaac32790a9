"""Objects in volumes, from the maps of all slices together.

What a window needs: ``maps.open_volume_maps`` gives a ``VolumeMaps`` (what is kept already is in it), a background
thread drives ``compute.iter_volume_maps(predictor, embeddings, maps, focus=...)`` and closes it to cancel;
``maps.is_ready(window)`` and ``maps.progress`` say what is known. At every prompt, in any thread,
``object.segment_volume_object(maps, VolumePrompts(...))`` gives a ``VolumeObject``: mask in its box, certainty of each
slice, a hint when it is empty. ``VolumePrompts.masks`` are the slices that brush, eraser or `s` made exact.
``automatic.segment_volume(maps, ...)`` labels everything. Nothing here is global: a frame of a movie of volumes has
embeddings and maps of its own.
"""
