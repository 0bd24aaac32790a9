"""Fixtures that all rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images with ground truth: MICRO_SAM_TEST_DATA, or a folder ``*/data`` beside the checkout."""
    named = os.environ.get("MICRO_SAM_TEST_DATA")
    beside = sorted(Path(__file__).parents[2].glob("*/data/manifest.csv"))
    folder = Path(named) if named else next((path.parent for path in beside), None)
    if folder is None:
        pytest.skip("the development images are not on this machine (MICRO_SAM_TEST_DATA names their folder)")
    return folder
