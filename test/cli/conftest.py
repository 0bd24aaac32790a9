"""What the tests of all commands share."""

import pytest


@pytest.fixture(autouse=True)
def screen(monkeypatch):
    """As if there were a screen: what is tested here is refused, or caught, before a window opens."""
    monkeypatch.setenv("DISPLAY", ":0")
