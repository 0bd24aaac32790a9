#!/usr/bin/env bash
# psygnal 0.16.1: a class with `events = SignalGroupDescriptor()` keeps the signals of each instance in a dictionary of
# the class. A bound method is held weakly as a slot, but a lambda or inner function is not: one that uses the instance
# (or anything that knows it) keeps the instance for the rest of the process, and gc.collect() cannot help, since the
# dictionary is alive. With a Signal of the class itself, the same lambda and the instance go together.
set -euo pipefail
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q psygnal==0.16.1 2>/dev/null
"$work/env/bin/python" - <<'PY'
import gc
import weakref
from dataclasses import dataclass
from typing import ClassVar

from psygnal import Signal, SignalGroupDescriptor


@dataclass(eq=False)
class Group:
    zoom: float = 1.0
    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def changed(self, zoom):
        pass


class Single:
    zoom_changed = Signal(float)


def is_kept(make):
    kept = weakref.ref(make())
    gc.collect()
    return kept() is not None


def group_and_lambda():
    one = Group()
    one.events.zoom.connect(lambda zoom: one.changed(zoom))
    return one


def group_and_method():
    one = Group()
    one.events.zoom.connect(one.changed)
    return one


def group_disconnected():
    one = group_and_lambda()
    one.events.disconnect()
    return one


def signal_and_lambda():
    one = Single()
    one.zoom_changed.connect(lambda zoom: one)
    return one


makers = (group_and_lambda, group_and_method, group_disconnected, signal_and_lambda)
found = {make.__name__: is_kept(make) for make in makers}
for name, kept in found.items():
    print(f"{name:20} {'kept for good' if kept else 'collected'}")
assert found == {
    "group_and_lambda": True,
    "group_and_method": False,
    "group_disconnected": False,
    "signal_and_lambda": False,
}, "the behaviour has changed"
PY
