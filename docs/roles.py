"""Shows the references of docstrings (``:func:`~room.name```) as plain code on the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`(~?)([\w.]+)`")


class Roles(griffe.Extension):
    """Replaces each reference by the name that it shows."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(_name, obj.docstring.value)


def _name(found: re.Match) -> str:
    name = found[2].rpartition(".")[2] if found[1] else found[2]
    return f"`{name}`"
