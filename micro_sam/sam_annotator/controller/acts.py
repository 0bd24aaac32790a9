"""What the person can do: every act is one method, which keys and menus call.

What goes wrong in an act reaches the status line, and never the event loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from micro_sam.errors import AxesError, ChoiceError, InputError
from micro_sam.io.label_arrays import any_label
from micro_sam.io.label_reading import is_labels_only, read_labels
from micro_sam.sam_annotator.controller.classes import ask_for_class_image, load_classes_into, save_class_image
from micro_sam.sam_annotator.controller.closing import may_leave
from micro_sam.sam_annotator.runtime.jobs import WORK
from micro_sam.sam_annotator.state import images
from micro_sam.sam_annotator.view.going import go_to
from micro_sam.session.large_commits import is_large
from micro_sam.session.values import CommitReport

if TYPE_CHECKING:
    from micro_sam.sam_annotator.controller.annotator import Annotator
    from micro_sam.sam_annotator.controller.training import TrainingOptions


def act(function: Callable) -> Callable:
    """An act of the person: what goes wrong in it reaches the status line, and never the event loop."""

    @functools.wraps(function)
    def wrapped(self: Annotator, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(self, *args, **kwargs)
        except Exception as error:
            if isinstance(error, (AxesError, ChoiceError)) and error.path is not None:
                self.axes_asked.emit(error)
            self.status.report(error)
            return None

    return wrapped


class Acts:
    """The acts that all tools share. Mixed into :class:`~micro_sam.sam_annotator.controller.annotator.Annotator`."""

    # ------------------------------------------------------------------ acts: training

    @act
    def start_training(self, options: TrainingOptions) -> None:
        """Train a model, in a process of its own, on what is committed."""
        self._needed()
        self.training.start(options)

    @act
    def stop_training(self) -> None:
        """End the training after the step it is in; it can go on later."""
        self.training.stop()

    @act
    def continue_training(self) -> None:
        """Take up a training that was stopped, or that ended with the machine."""
        self.training.go_on()

    @act
    def use_trained_model(self) -> None:
        """Work with the model that was trained."""
        self.training.use()

    # ------------------------------------------------------------------ acts: prompts

    @act
    def use_tool(self, tool: str) -> None:
        """Give the mouse a tool: point, box, polygon, ellipse, paint, erase, pick or move."""
        self._needed().layers.use(tool)

    @act
    def toggle_polarity(self) -> None:
        """Positive <-> negative: the points that were chosen with the selection tool, else the next point."""
        session = self._needed().session
        chosen = self.layers.points.chosen_ids
        if chosen:
            session.prompts.set_polarity(chosen, not session.prompts.drawn[chosen[0]].positive)
            self.preview.edited(self.z)
        else:
            self.set_polarity(not session.prompts.next_positive)

    @act
    def set_polarity(self, positive: bool) -> None:
        """Make the next point positive or negative."""
        session = self._needed().session
        if positive == session.prompts.next_positive:
            return
        session.prompts.set_next_polarity(positive)
        if self.layers.tool not in ("point", "move"):
            self.layers.use("point")
        self.status.say(
            "The next click is positive: it belongs to the object."
            if positive
            else "The next click is negative: it does not belong to the object."
        )

    @act
    def set_hover(self, on: bool) -> None:
        """Show, while the mouse moves, the mask that a click there would give."""
        if on != self.hover.on:
            self.hover.switch(on)
            self.hover_changed.emit(on)

    @act
    def toggle_hover(self) -> None:
        """Mask under the mouse on / off."""
        self.set_hover(not self.hover.on)

    @act
    def segment(self) -> None:
        """Segment the prompts (of the slice in view)."""
        if self.layers is not None:
            self.layers.read_prompts()
        self.preview.segment(self.z)
        if self.preview.waits:
            self.preparation.needed()

    # ------------------------------------------------------------------ acts: objects

    @act
    def commit(self, wait: bool = False) -> CommitReport | None:
        """Move the current object, or the automatic segmentation, into the committed objects.

        A large segmentation is committed in the background, unless `wait`.
        """
        session = self._needed().session
        running = self.jobs.running(WORK)
        if running is not None:
            raise InputError(f"'{running.name}' is still running. Commit when it is done.")
        if self.source == "current" and self.preview.busy:
            self.preview.then(self.commit)  # somebody was quicker than the network
            return None
        if self.source == "current" and self.preview.waits and not session.has_current:
            raise InputError("Your prompt is kept, but the embedding is not ready yet. Commit when its mask is there.")
        if self.source == "current" and self.preview.completes and self.engine.busy:
            raise InputError("A part of the object is not embedded yet. Commit it when the rest has appeared.")
        if not wait and is_large(session, self.source):
            self.large_steps.commit()
            return None
        report = session.objects.commit(self.source, self.preserve, min_size=int(self.automatic.values["min_size"]))
        self.set_source("current")
        self._go_on()
        return report

    @act
    def clear(self) -> None:
        """Remove the prompts and the current object."""
        self._needed().session.prompts.clear()
        self._go_on()

    @act
    def undo(self) -> None:
        """Take the last step back."""
        self._needed().session.undo()

    @act
    def redo(self) -> None:
        """Do the step again that was undone last."""
        self._needed().session.redo()

    @act
    def set_source(self, source: str) -> None:
        """Choose what the next commit takes."""
        if source != self.source:
            self.source = source
            self.source_changed.emit(source)

    @act
    def pick(self, object_id: int) -> None:
        """Choose a committed object (or let it go), for delete, merge and re-open; 0 lets all go."""
        if object_id == 0:
            self._set_picked(())
        elif object_id in self.picked:
            self._set_picked(tuple(i for i in self.picked if i != object_id))
        else:
            self._set_picked((*self.picked, object_id))
        if self.picked:
            ids = ", ".join(str(i) for i in self.picked)
            self.status.say(f"Chosen: {ids}. Re-open one to correct it, merge several, or delete them.")
        else:
            self.status.say("Click committed objects to choose them.")

    @act
    def choose(self, ids: Sequence[int]) -> None:
        """Choose these committed objects and no others."""
        self._set_picked(tuple(ids))

    @act
    def delete_picked(self) -> None:
        """Remove the chosen objects."""
        self._needed().session.objects.delete(self._chosen())
        self._set_picked(())

    @act
    def merge_picked(self) -> None:
        """Make one object of the chosen ones."""
        self._needed().session.objects.merge(self._chosen())
        self._set_picked(())  # the next Delete must not take it

    @act
    def reopen_picked(self) -> None:
        """Take the chosen object back to work."""
        chosen = self._chosen()
        if len(chosen) > 1:
            raise InputError("Only one object can be re-opened at a time. Choose one.")
        self._needed().session.objects.reopen(chosen[0])
        self._set_picked(())
        self._go_on()

    @act
    def go_to_object(self, object_id: int) -> None:
        """Bring a committed object into sight: its slice, its place, and large enough."""
        record = self._needed().session.objects.get(object_id)
        if record is not None:
            go_to(self.viewer, self.layers.raw, record, self.z)

    @act
    def toggle_table(self) -> None:
        """Open or close the table of committed objects."""
        self._needed()
        self.table.toggle()

    @act
    def save_table(self, path: str | Path | None = None) -> None:
        """Write the table of committed objects; without a path, ask."""
        self.table.save(path)

    @act
    def set_class(self, number: int) -> None:
        """Give the selected committed objects, else the current object, a class; 0 takes it away."""
        self._needed().session.classes.set(number, self.picked)

    @act
    def define_class(self, number: int, name: str | None = None, colour: str | None = None) -> None:
        """Make a class, or change its name or colour."""
        self._needed().session.classes.define(number, name, colour)

    @act
    def save_class_image(self, path: str | Path | None = None) -> None:
        """Write labels that hold the number of the class of each object; without a path, ask."""
        path = ask_for_class_image(self._needed()) if path is None else Path(path)
        if path is not None:
            save_class_image(self, path)

    @act
    def review_next(self) -> None:
        """Go to the committed object that is worth a look first, with the reason."""
        self._needed().review.next()

    @act
    def review_fine(self) -> None:
        """The object that is looked at is right: on to the next."""
        self._needed().review.fine()

    @act
    def review_correct(self) -> None:
        """Open the object that is looked at again."""
        self._needed().review.correct()

    @act
    def review_delete(self) -> None:
        """Remove the object that is looked at, and go on."""
        self._needed().review.delete()

    @act
    def review_stop(self) -> None:
        """End the review."""
        self.review.stop()

    def segment_all(self) -> None:
        """Segment the whole image."""
        self.automatic.run()

    @act
    def cancel(self) -> None:
        """Stop the run that the progress bar shows; an embedding that goes on below it is not stopped."""
        running = self.jobs.running()
        if running is None:
            return
        if running.lane != WORK:
            self.preparation.cancel()
            return
        self.jobs.cancel(WORK)
        self.status.say("Cancelled. What was finished before stays.")

    @act
    def start_again(self) -> None:
        """Prepare model and embeddings again after that was cancelled or has failed."""
        self._needed().preparation.start_again()

    @act
    def save(self, path: str | Path | None = None) -> None:
        """Save the committed objects; without a path, where they were saved last, or ask."""
        self.saving.start(path)

    @act
    def save_as(self) -> None:
        """Save the committed objects in a file that the person chooses."""
        path = self.saving.ask_for_path()
        if path is not None:
            self.saving.start(path)

    # ------------------------------------------------------------------ acts: images

    def samples(self) -> list[str]:
        """Names of the sample images that fit the tool and need no download."""
        from micro_sam.sample_data import sample_names

        return sample_names(self.tool, offline=True)

    @act
    def open_path(self, path: str | Path, axes: str | None = None, key: str | None = None) -> None:
        """Open an image file, or a sample (``sample:NAME``).

        `axes` says what its axes are where it does not, `key` which of its images it is.
        """
        if self.session is not None and is_labels_only(path):
            self.load_labels(path)
            return
        image = images.from_path(path, self.tool, key, axes=axes)
        if may_leave(self, "Open"):
            self.open(image)

    def load_labels(self, path: str | Path) -> None:
        """Go on with the labels in a file (ROIs, GeoJSON, Cellpose, any label image).

        They are committed; where there are committed objects already, they wait as automatic segmentation.
        """
        session = self._needed().session
        labels, note = read_labels(path, shape=session.shape)
        if not any_label(labels):
            raise InputError(f"{path} holds no objects.")
        if not any_label(session.committed):
            session.objects.load(labels)
            load_classes_into(session, Path(path))
            self.status.say(f"The objects of {Path(path).name} were loaded. {note}".strip(), "good")
            return
        session.automatic.show(labels)
        self.set_source("auto")
        what = f"The objects of {Path(path).name} are shown; commit them to add them to those that are there."
        self.status.say(f"{what} {note}".strip(), "good")

    @act
    def open_layer(self, layer: Image) -> None:
        """Annotate an image that is in the viewer."""
        image = images.from_layer(layer, self.tool)
        if may_leave(self, "Open"):
            self.open(image)

    @act
    def choose_channel(self, channel: int | str) -> None:
        """Show and segment another channel of the image, or the ``"mix"`` of all. Prompts and objects stay."""
        if self._needed().image.source is None or channel == self.image.channel:
            return
        running = self.jobs.running(WORK)
        if running is not None:
            raise InputError(f"'{running.name}' is still running. Wait until it is done, or cancel it first.")
        self.image = self.overview.of(images.with_channel(self.image, self.tool, channel))
        self.layers.show(self.image, self.session)
        self.recording.channel_changed(self.image)
        self.overview.begin()
        self.prepare()

    def _chosen(self) -> tuple[int, ...]:
        if not self.picked:
            raise InputError("No object is chosen. Press 'Choose objects', then click the objects in the image.")
        return self.picked
