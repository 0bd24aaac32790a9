"""napari without a window, which knows the plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

import micro_sam


@pytest.fixture(scope="session")
def manifest():
    """What the plugin says of itself; napari knows it, also from an environment that was made before it had one."""
    from npe2 import PluginManager, PluginManifest

    manager = PluginManager.instance()
    if "micro_sam" not in manager:
        manager.register(PluginManifest.from_file(Path(micro_sam.__file__).with_name("napari.yaml")))
    return manager.get_manifest("micro_sam")


@pytest.fixture
def viewer(manifest):
    """What a napari window shows, without the window."""
    from napari.components import ViewerModel

    return ViewerModel()
