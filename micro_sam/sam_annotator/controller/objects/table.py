"""The table of objects or tracks: it measures only while somebody looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from micro_sam.errors import InputError, NotOurs
from micro_sam.io.results import check_not_input, read_kind
from micro_sam.io.tables import check_table_path, save_table
from micro_sam.sam_annotator.actions import Actions
from micro_sam.sam_annotator.controller.files.saving import Saving
from micro_sam.sam_annotator.runtime.jobs import Jobs
from micro_sam.sam_annotator.state.window import WindowState, image_of
from micro_sam.sam_annotator.view.dialogs import Dialogs
from micro_sam.sam_annotator.view.frame import keep_height_of_dock
from micro_sam.sam_annotator.view.layers.session_layers import SessionLayers

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.objects.measuring import Measuring
    from micro_sam.sam_annotator.view.tables.panel import TablePanel

FILTERS = "Table (*.csv);;Parquet (*.parquet)"


class ObjectTable:
    """The table of one window. It is made when it is opened for the first time, and measures only while it is open.

    Parameters
    ----------
    state, actions, jobs
        Of the window.
    viewer, layers
        The panel lies below the image; the layers have the colours.
    saving, dialogs
        Where the table is saved.

    Attributes
    ----------
    panel
        None before.
    """

    def __init__(
        self,
        state: WindowState,
        actions: Actions,
        jobs: Jobs,
        *,
        viewer: Viewer,
        layers: SessionLayers,
        saving: Saving,
        dialogs: Dialogs,
    ) -> None:
        self._state, self._actions, self._jobs = state, actions, jobs
        self._viewer, self._layers, self._saving, self._dialogs = viewer, layers, saving, dialogs
        self._measuring: Measuring | None = None
        self.panel: TablePanel | None = None
        self._dock: Any = None
        state.events.session.connect(self._follow)
        state.events.image.connect(self._follow)

    @property
    def measuring(self) -> Measuring:
        """What measures; made on first use, because its libraries (pandas, scikit-image) take longer than a window."""
        if self._measuring is None:
            from micro_sam.sam_annotator.controller.objects.measuring import Measuring

            self._measuring = Measuring(self._jobs)
            self._follow()
        return self._measuring

    def _follow(self) -> None:
        """Show the objects of the session that is open now, measured on its image."""
        session, image = self._state.session, self._state.image
        if self._measuring is not None and session is not None and image is not None:
            if tuple(session.shape) == tuple(image.shape):  # of another image, the session comes next
                is_other = not self._measuring.follows(session)
                self._measuring.follow(session, image)
                table = self._measuring.table()
                if is_other and self.panel is not None and table is not None:
                    self.panel.show_table(table)  # without rows: those of another session are none of this one

    @property
    def is_open(self) -> bool:
        """Whether the panel is in sight."""
        return self._dock is not None and self._dock.isVisible()

    def toggle(self) -> None:
        """Open or close the panel."""
        if self.is_open:
            self.hide()
            return
        self._state.needed()
        if self._dock is None:
            self._make()
        self._dock.show()
        self._dock.raise_()

    def hide(self) -> None:
        """Close the panel."""
        if self._dock is not None:
            self._dock.hide()

    def remove(self) -> None:
        """Take the panel out of the viewer."""
        dock, panel, self._dock, self.panel = self._dock, self.panel, None, None
        if dock is not None and panel is not None:
            self._viewer.window.remove_dock_widget(dock)
            panel.deleteLater()  # napari keeps what was docked

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
        place = Path(path) if path is not None else self._ask()
        if place is None:
            return None
        check_not_input(place, image_of(self._state).path)
        try:
            check_table_path(place)
            save_table(place, table)
        except NotOurs:
            if not self._dialogs.may_replace(place, False):
                return None
            save_table(place, table, replace_unmarked=True)
        self._state.status.say(f"Table of {len(table)} rows saved in {place}.", "good")
        return place

    def close(self) -> None:
        """Measure nothing any more."""
        if self._measuring is not None:
            self._measuring.close()

    def _ask(self) -> Path | None:
        result = self._saving.path or self._saving.suggested_path()
        path, selected = self._dialogs.path_to_save(
            "Save table", result.with_name(f"{result.name.split('.')[0]}.csv"), FILTERS
        )
        if path is None:
            return None
        path = path if path.suffix else path.with_name(path.name + (".parquet" if "parquet" in selected else ".csv"))
        return None if read_kind(path) == "table" and not self._dialogs.may_replace(path, True) else path

    def _make(self) -> None:
        from micro_sam.sam_annotator.view.tables.panel import HEIGHT, TableActions, TablePanel

        actions, noun = self._actions, self._state.tool.noun
        at_frame = self._state.tool.work == "tracks"
        what = TableActions(
            select=actions.select,
            go_to=actions.go_to_object,
            delete=actions.delete_selected,
            merge=actions.merge_selected,
            split=actions.split_selected if at_frame else actions.split_pieces,
            reopen=actions.reopen_selected,
            save=actions.save_table,
            report=self._state.status.report,
            splits_at_frame=at_frame,
        )
        self.panel = TablePanel(self._state, what, noun, self._colour)
        self.panel.model.class_colour_of = self._class_colour
        name = f"{noun.capitalize()}s"
        self._dock = self._viewer.window.add_dock_widget(self.panel, name=name, area="bottom", tabify=True)
        keep_height_of_dock(self._viewer)
        self._dock.visibilityChanged.connect(lambda visible: self.measuring.want("panel", visible))
        self._dock.destroyOnClose = self._dock.hide  # its cross would delete it
        self._dock.parent().resizeDocks([self._dock], [HEIGHT], Qt.Orientation.Vertical)
        self.measuring.changed.connect(self.panel.show_table)
        self.measuring.want("panel", True)

    def _class_colour(self, object_id: int) -> QColor | None:
        session = self._state.session
        known = session.classes.of(object_id) if session is not None else None
        return None if known is None else QColor(known.colour)

    def _colour(self, object_id: int) -> QColor | None:
        committed = self._layers.labels.get("committed")
        colour = None if committed is None else committed.colour_of(object_id)
        return None if colour is None else QColor.fromRgbF(*colour)
