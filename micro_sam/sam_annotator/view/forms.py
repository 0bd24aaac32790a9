"""Forms made from options: one widget for each field, with its label, range and tip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, FileEdit, FloatSlider, FloatSpinBox, SpinBox
from pydantic.fields import FieldInfo
from qtpy.QtWidgets import QWidget

from micro_sam.sam_annotator.state.options import Options

LARGEST_SLIDER = 1.0
"""Numbers that may be larger are typed."""


class Form:
    """Shows options, and tells what the user changes.

    Parameters
    ----------
    kinds
        Options whose fields are shown, in their order; a field of two kinds is shown once.
    changed
        Called with name and value of a field.
    values
        What is shown to begin with; the defaults where there is none.

    Attributes
    ----------
    widgets
        Name of a field -> its widget.
    """

    def __init__(
        self,
        kinds: Iterable[type[Options]],
        changed: Callable[[str, Any], object] | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        fields = {name: field for kind in kinds for name, field in kind.model_fields.items()}
        self.widgets = {
            name: make_widget(field, (values or {}).get(name, field.default)) for name, field in fields.items()
        }
        self._container = Container(widgets=list(self.widgets.values()), labels=True)
        self._container.margins = (0, 0, 0, 0)
        if changed is not None:
            for name, widget in self.widgets.items():
                widget.changed.connect(lambda value, name=name: changed(name, value))

    @property
    def native(self) -> QWidget:
        """For Qt."""
        return self._container.native

    def insert(self, position: int, widget: Any) -> None:
        """Put another widget among those of the fields."""
        self._container.insert(position, widget)

    def show(self, names: Iterable[str]) -> None:
        """Show these fields only."""
        shown = set(names)
        for name, widget in self.widgets.items():
            widget.visible = name in shown

    def values(self) -> dict[str, Any]:
        """What the widgets show."""
        return {name: widget.value for name, widget in self.widgets.items()}


def make_widget(field: FieldInfo, value: Any) -> Any:
    """The widget of one field."""
    extra: Any = field.json_schema_extra
    words: dict[str, Any] = {"label": field.title, "tooltip": field.description}
    if extra["choices"]:
        return ComboBox(choices=list(extra["choices"].items()), value=value, **words)
    if isinstance(value, bool):
        return CheckBox(text=field.title, value=value, tooltip=field.description)
    if isinstance(value, Path):
        return FileEdit(mode="w", **words)  # type: ignore[arg-type]
    words["min"] = next(one.ge for one in field.metadata if hasattr(one, "ge"))
    words["max"] = next(one.le for one in field.metadata if hasattr(one, "le"))
    if extra["step"] is not None:
        words["step"] = extra["step"]
    kind: Any = SpinBox if isinstance(value, int) else FloatSlider if words["max"] <= LARGEST_SLIDER else FloatSpinBox
    return kind(value=value, **words)
