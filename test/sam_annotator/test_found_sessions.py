"""Where sessions on an image are looked for."""

from __future__ import annotations

from types import SimpleNamespace

from micro_sam.io.addresses import path_of
from micro_sam.sam_annotator.controller.files.recording import Recording
from micro_sam.session.journal import places


def test_sessions_beside_results_of_any_name_are_looked_at(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(places, "find", lambda signature, results: asked.append(list(results)) or [])
    (tmp_path / "my_result.session").mkdir()
    recording = SimpleNamespace(_state=SimpleNamespace(tool=SimpleNamespace(name="2d")))
    for path in (tmp_path / "cells.tif", path_of("https://server/cells.zarr")):
        Recording._found(recording, SimpleNamespace(path=path, result=None), "signature", None)
    here, remote = asked
    assert tmp_path / "my_result.session" in here and tmp_path / "cells_objects.tif" in here
    assert places.beside(tmp_path / "my_result.session") == tmp_path / "my_result.session"
    assert len(remote) == 2
