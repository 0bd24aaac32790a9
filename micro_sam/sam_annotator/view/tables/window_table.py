"""The table of objects or tracks: what is measured, the Qt model of it, and the panel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFileDialog, QWidget

from micro_sam.errors import InputError, NotOurs
from micro_sam.io.results import check_not_input, read_kind
from micro_sam.io.tables import check_table_path, save_table
from micro_sam.sam_annotator.view.replacing import may_replace

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.sam_annotator.view.tables.measuring import Measuring
    from micro_sam.sam_annotator.view.tables.panel import TablePanel

FILTERS = "Table (*.csv);;Parquet (*.parquet)"


class ObjectTable:
    """The table of one window. It is made when it is opened for the first time, and measures only while it is open.

    Attributes
    ----------
    panel
        None before.
    """

    def __init__(self, annotator: Annotator) -> None:
        self._annotator = annotator
        self._measuring: Measuring | None = None
        self.panel: TablePanel | None = None
        self._dock: QWidget | None = None

    @property
    def measuring(self) -> Measuring:
        """What measures; made on first use, because its libraries (pandas, scikit-image) take longer than a window."""
        if self._measuring is None:
            from micro_sam.sam_annotator.view.tables.measuring import Measuring

            self._measuring = Measuring(self._annotator.jobs)
            self.follow()
        return self._measuring

    def follow(self) -> None:
        """Show the objects of the session that is open now."""
        annotator = self._annotator
        if self._measuring is not None and annotator.session is not None and annotator.image is not None:
            self._measuring.follow(annotator.session, annotator.image)

    @property
    def is_open(self) -> bool:
        """Whether the panel is in sight."""
        return self._dock is not None and self._dock.isVisible()

    def toggle(self) -> None:
        """Open or close the panel."""
        if self.is_open:
            self.hide()
            return
        if self._dock is None:
            self._make()
        self._dock.show()
        self._dock.raise_()

    def hide(self) -> None:
        """Close the panel."""
        if self._dock is not None:
            self._dock.hide()

    def save(self, path: str | Path | None = None) -> Path | None:
        """Write the table; None when the user cancelled the dialog, or keeps the file that is there.

        Raises
        ------
        InputError
            When there is nothing to write, or it is not measured yet.
        OutputError
            When it cannot be written.
        """
        table = self.measuring.table()
        if table is None or not len(table):
            raise InputError("There are no committed objects to measure. Segment one and commit it with C first.")
        if not self.measuring.is_complete:
            raise InputError("The objects are still being measured. Save the table in a moment.")
        path = Path(path) if path is not None else self._ask()
        if path is None:
            return None
        check_not_input(path, self._annotator.image.path)
        try:
            check_table_path(path)
            save_table(path, table)
        except NotOurs:
            if not may_replace(self._annotator, path, False):
                return None
            save_table(path, table, replace_unmarked=True)
        self._annotator.status.say(f"Table of {len(table)} rows saved in {path}.", "good")
        return path

    def close(self) -> None:
        """Measure nothing any more."""
        if self._measuring is not None:
            self._measuring.close()

    def _ask(self) -> Path | None:
        annotator = self._annotator
        result = annotator.saving.path or annotator.saving.suggested_path()
        window = annotator.viewer.window._qt_window
        name, chosen = QFileDialog.getSaveFileName(
            window,
            "Save table",
            str(result.with_name(f"{result.name.split('.')[0]}.csv")),
            FILTERS,
            options=QFileDialog.Option.DontConfirmOverwrite,  # we ask ourselves, once
        )
        if not name:
            return None
        path = Path(name) if Path(name).suffix else Path(name + (".parquet" if "parquet" in chosen else ".csv"))
        return None if read_kind(path) == "table" and not may_replace(annotator, path, True) else path

    def _make(self) -> None:
        from micro_sam.sam_annotator.view.tables.panel import HEIGHT, TableActions, TablePanel

        annotator = self._annotator
        actions = TableActions(
            choose=annotator.choose,
            go_to=annotator.go_to_object,
            delete=annotator.delete_picked,
            merge=annotator.merge_picked,
            reopen=annotator.reopen_picked,
            save=annotator.save_table,
            report=annotator.status.report,
        )
        noun = getattr(annotator, "noun", "object")
        self.panel = TablePanel(annotator, actions, noun, self._colour)
        self.panel.model.class_colour_of = self._class_colour
        name = f"{noun.capitalize()}s"
        self._dock = annotator.viewer.window.add_dock_widget(self.panel, name=name, area="bottom", tabify=True)
        self._dock.visibilityChanged.connect(lambda visible: self.measuring.want("panel", visible))
        self._dock.destroyOnClose = self._dock.hide  # its cross would delete it
        self._dock.parent().resizeDocks([self._dock], [HEIGHT], Qt.Orientation.Vertical)
        self.measuring.changed.connect(self.panel.show_table)
        self.measuring.want("panel", True)

    def _class_colour(self, object_id: int) -> QColor | None:
        session = self._annotator.session
        known = session.classes.of(object_id) if session is not None else None
        return None if known is None else QColor(known.colour)

    def _colour(self, object_id: int) -> QColor | None:
        layers = self._annotator.layers
        if layers is None:
            return None
        colour = layers.labels["committed"].layer.get_color(object_id)
        return None if colour is None else QColor.fromRgbF(*(float(value) for value in colour[:3]))
