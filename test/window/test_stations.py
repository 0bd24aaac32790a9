"""How many modules a click passes on its way from the mouse to the pixels of the layer."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from .driver import click, wait_idle, wait_until

COIN = (60, 100)
MOST = 8


def modules_on(frame: FrameType | None) -> list[str]:
    """Modules of this program from the outermost call to a frame."""
    found: list[str] = []
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("micro_sam.") and name not in found:
            found.append(name)
        frame = frame.f_back
    return found[::-1]


def test_a_click_passes_few_modules(tool):
    """The calls that lead on: mouse to prompt and question, question to network, answer to layer."""
    latest, segment, prompts = tool.preview._latest, tool.session.segment, tool.session.prompts
    layer = tool.layers.labels["current"]
    ways: dict[str, list[str]] = {}
    ask, run, repaint, replace = latest.ask, segment.compute, layer.repaint, prompts.replace

    def told(*args: Any) -> Any:
        ways.setdefault("told", [*modules_on(sys._getframe().f_back), type(prompts).__module__])
        return replace(*args)

    def asked(tag: Any, function: Any) -> None:
        ways.setdefault("asked", modules_on(sys._getframe().f_back))
        ask(tag, function)

    def running(request: Any) -> Any:
        thread = modules_on(sys._getframe().f_back)
        waiting = "runtime.threads"  # in its thread since the window opened
        ways.setdefault("answered", [*(m for m in thread if not m.endswith(waiting)), run.__module__])
        return run(request)

    def drawn(region: Any = None) -> None:
        repaint(region)
        if tool.session.current.any():
            ways.setdefault("drawn", [*modules_on(sys._getframe().f_back), type(layer).__module__])

    latest.ask, segment.compute, layer.repaint, prompts.replace = asked, running, drawn, told
    try:
        click(tool, COIN)
        assert wait_until(lambda: "drawn" in ways), (tool.status.text, ways)
    finally:
        del latest.ask, segment.compute, layer.repaint, prompts.replace
    wait_idle(tool)
    assert tool.session.current[COIN] and tool.viewer.layers["current_object"].data[COIN]
    stations = list(dict.fromkeys(module for way in ("told", "asked", "answered", "drawn") for module in ways[way]))
    print(len(stations), "stations:", *(module.removeprefix("micro_sam.") for module in stations), sep="\n  ")
    assert len(stations) <= MOST, ways
