"""Everything that the user can do: one row has the caption, the tip, the keys, and what it does.

Buttons, switches, keys, the list of keys in the window and ``docs/keys.md`` come from these rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from micro_sam.sam_annotator.actions import Action, key_shown
from micro_sam.sam_annotator.state.tool import Tool


@dataclass(frozen=True)
class Row:
    """One action of a tool.

    Captions and tips may have ``{key}`` and ``{keys[NAME]}`` (its own key, and that of another row), ``{noun}``,
    ``{place}``, ``{part}``, ``{image}``, ``{committed}`` (of the tool) and ``{formats}`` (in which it saves).
    """

    name: str
    do: Callable[[Any], Callable[..., Any]]
    caption: str = ""
    tip: str = ""
    keys: tuple[str, ...] = ()
    text: str = ""


def bind(rows: tuple[Row, ...], handlers: Any, tool: Tool, formats: str = "") -> list[Action]:
    """The actions of a window."""
    words = {"noun": tool.noun, "place": tool.place, "part": tool.part, "image": tool.image_noun}
    keys = {row.name: key_shown(row.keys) for row in rows}

    def filled(text: str, row: Row) -> str:
        return text.format(key=keys[row.name], keys=keys, formats=formats, committed=tool.names.committed, **words)

    return [
        Action(row.name, row.do(handlers), filled(row.caption, row), filled(row.tip, row), row.keys, row.text)
        for row in rows
    ]


def rows_of(tool: Tool) -> tuple[Row, ...]:
    """The rows of a tool."""
    hover = ROWS_OF_HOVER if tool.has_hover else ()
    stack = ROWS_OF_STACKS if tool.ndim == 3 else (SELECT_ONE,)
    work = {"volume": ROWS_OF_VOLUMES, "tracks": ROWS_OF_TRACKS}.get(tool.work, ())
    proposals = () if tool.work == "tracks" else ROWS_OF_PROPOSALS
    return (*ROWS_BEFORE, *hover, *ROWS, *proposals, *work, *stack)


ROWS_BEFORE = (
    Row(
        "segment",
        lambda to: to.prompts.segment,
        "Segment {part} [{key}]",
        "Segment what the prompts show.",
        ("s",),
        "segment the prompts",
    ),
    Row(
        "commit",
        lambda to: to.commits.commit,
        "Commit [{key}]",
        "Move the object(s) into {committed}.",
        ("c",),
        "commit",
    ),
    Row("commit_automatic", lambda to: to.commits.commit, "Commit automatic {noun}s [{keys[commit]}]"),
    Row(
        "toggle_polarity",
        lambda to: to.prompts.toggle_polarity,
        "next point [{key}]",
        "Positive: belongs to the object (green). Negative: does not belong to it (red).",
        ("t",),
        "next point positive / negative",
    ),
    Row(
        "clear",
        lambda to: to.commits.clear,
        "Clear [{key}]",
        "Remove the prompts and the current object.",
        ("Shift-C",),
        "clear prompts and object",
    ),
)
ROWS_OF_HOVER = (
    Row("toggle_hover", lambda to: to.prompts.toggle_hover, "", "", ("h",), "mask under the mouse on / off"),
    Row(
        "set_hover",
        lambda to: to.prompts.set_hover,
        "hover [{keys[toggle_hover]}]",
        "Shows, while the mouse moves, the mask that a click there would give. Key {keys[toggle_hover]}.",
    ),
)
ROWS = (
    # prompts and commits
    Row("undo", lambda to: to.commits.undo, "Undo", "Take the last step back [{key}].", ("Control-Z",), "undo"),
    Row("redo", lambda to: to.commits.redo, "Redo", "Do it again [{key}].", ("Control-Shift-Z",), "redo"),
    Row(
        "toggle_table",
        lambda to: to.table.toggle,
        "Table",
        "All {noun}s with their sizes: sort, filter, jump, save.",
        ("Shift-T",),
        "table of objects on / off",
    ),
    Row(
        "review_next",
        lambda to: to.review.next,
        "Review [{key}]",
        "Look at the {noun}s one by one, the most doubtful first.",
        ("w",),
        "review: the most doubtful object",
    ),
    Row(
        "set_class_1",
        lambda to: lambda: to.objects.set_class(1),
        keys=("Shift-1",),
        text="class 1 for the object; to Shift-9",
    ),
    Row("toggle_keys", lambda to: to.prompts.toggle_keys, keys=("F1",), text="this list of keys on / off"),
    Row("use_tool", lambda to: to.prompts.use_tool),
    Row("set_polarity", lambda to: to.prompts.set_polarity),
    Row("set_live", lambda to: to.prompts.set_live, "live", "Every click is segmented at once, without a key."),
    Row(
        "set_batched",
        lambda to: to.prompts.set_batched,
        "one per point",
        "Off: all positive points show one object. On: each positive point is an object of its own.",
    ),
    Row("set_source", lambda to: to.commits.set_source),
    Row("set_preserve", lambda to: to.commits.set_preserve),
    # committed objects
    Row("select", lambda to: to.objects.select),
    Row("select_typed", lambda to: to.objects.select_typed),
    Row(
        "reopen_selected",
        lambda to: to.objects.reopen,
        "Re-open",
        "Make it the current {noun} again, with its prompts.",
    ),
    Row("merge_selected", lambda to: to.objects.merge, "Merge", "Make one {noun} of the selected ones."),
    Row(
        "split_pieces",
        lambda to: to.objects.split,
        "Split",
        "Make an object of each of its pieces; the largest keeps the id.",
    ),
    Row(
        "delete_selected", lambda to: to.objects.delete, "Delete", "Remove the selected {noun}s. Undo brings them back."
    ),
    Row("go_to_object", lambda to: to.objects.go_to),
    Row("set_class", lambda to: to.objects.set_class),
    Row("define_class", lambda to: to.objects.define_class),
    Row(
        "save_class_image",
        lambda to: to.objects.save_class_image,
        "Class image...",
        "Write labels that hold the number of the class.",
    ),
    Row("save_table", lambda to: to.table.save),
    Row("review_skip", lambda to: to.review.next, "Next [{keys[review_next]}]", "Leave it for now."),
    Row("review_fine", lambda to: to.review.fine, "Fine", "This {noun} is right: on to the next."),
    Row("review_correct", lambda to: to.review.correct, "Correct", "Open it again, with its prompts."),
    Row("review_delete", lambda to: to.review.delete, "Delete", "Remove it; undo brings it back."),
    Row("review_stop", lambda to: to.review.stop, "End", "End the review."),
    # images, model, files
    Row("open_file", lambda to: to.opening.open_file, "Open image...", "Open an image file."),
    Row("open_path", lambda to: to.opening.open_path),
    Row("open_layer", lambda to: to.opening.open_layer, "Use layer", "Annotate the selected layer."),
    Row("load_labels", lambda to: to.opening.load_labels),
    Row("take_dropped", lambda to: to.take_dropped),
    Row("choose_channel", lambda to: to.opening.choose_channel, "channel", "Which channel is shown and segmented."),
    Row(
        "change_settings",
        lambda to: to.preparation.change_settings,
        "Apply",
        "Use these settings. Prompts and objects stay.",
    ),
    Row("prepare", lambda to: to.preparation.prepare),
    Row(
        "use_offered_model",
        lambda to: to.preparation.use_offered,
        tip="Go on with the model that comes with the program.",
    ),
    Row("download_model", lambda to: to.preparation.download, tip="Fetch the weights, then go on."),
    Row("start_again", lambda to: to.preparation.start_again, "Start again", "Load the model, compute the embeddings."),
    Row(
        "embed_all",
        lambda to: to.engine.want_all,
        "Embed all",
        "Off: what you click or look at, and what Segment All needs, is embedded.",
    ),
    Row("cancel", lambda to: to.cancel, "Cancel", "Stop what is running. What is finished stays."),
    Row("continue_session", lambda to: to.continuing.go_on_with_offer, "Continue", "Go on where it ended."),
    Row("new_session", lambda to: to.recording.start_new, "Start new", "Begin a new session; the earlier one is kept."),
    Row("save", lambda to: to.saving.start, "Save", "Write what is committed ({formats})."),
    Row("save_as", lambda to: to.saving.save_as, "Save As...", "Write what is committed ({formats}) to another file."),
    # automatic segmentation and training
    Row(
        "segment_all",
        lambda to: to.automatic.run,
        "Segment All Objects",
        "Find all objects of the image, into auto_segmentation.",
    ),
    Row(
        "draw_region_box",
        lambda to: lambda: to.region.draw("rectangle"),
        "Box",
        "Draw a rectangle: Segment All then finds the {noun}s whose centre lies inside, and looks nowhere else.",
    ),
    Row(
        "draw_region_polygon",
        lambda to: lambda: to.region.draw("polygon"),
        "Polygon",
        "Click the corners of a polygon: Segment All then finds the {noun}s whose centre lies inside.",
    ),
    Row("clear_region", lambda to: to.region.clear, "Clear", "Segment All looks at the whole {image} again."),
    Row("set_method", lambda to: to.automatic.set_method),
    Row("set_threshold", lambda to: to.automatic.set_threshold),
    Row(
        "start_training",
        lambda to: to.training.start,
        "Train on what is committed",
        "In the background; you can go on annotating.",
    ),
    Row("stop_training", lambda to: to.training.stop, "Stop", "After this step. It can go on later."),
    Row("continue_training", lambda to: to.training.go_on, "Go on", "Take the training up where it stopped."),
    Row("use_trained_model", lambda to: to.training.use, "Use the new model", "In this window, from now on."),
)
ROWS_OF_PROPOSALS = (
    Row(
        "find_similar",
        lambda to: to.similar.start,
        "Find similar {noun}s",
        "Propose those that look like the selected ones, among what Segment All finds. {keys[commit]} commits all of "
        "them, {keys[accept_proposal]} the one under the mouse.",
    ),
    Row(
        "accept_proposal",
        lambda to: to.similar.accept,
        keys=("a",),
        text="commit the automatic object under the mouse",
    ),
    Row("set_similarity", lambda to: to.similar.set_threshold),
)
SELECT_ONE = Row("select_one", lambda to: to.objects.select_one)
ROWS_OF_STACKS = (
    Row("select_one", lambda to: to.stacks.click_object),
    Row("go_to_slice", lambda to: to.stacks.go_to_slice),
    Row("set_option", lambda to: to.stacks.set_option),
    Row("reopen", lambda to: to.stacks.reopen),
    Row(
        "go_to_weakest_slice",
        lambda to: to.stacks.go_to_weakest_slice,
        "Least certain [{keys[review_next]}]",
        "Go to the {place} of the current {noun} that is worth a look first.",
    ),
    Row(
        "correct_by_click",
        lambda to: to.stacks.correct_by_click,
        "Correct {noun} [{keys[reopen_under_mouse]}]",
        "Then click a committed {noun}: it opens again with its prompts. Key {keys[reopen_under_mouse]} does "
        "it for the {noun} under the mouse.",
    ),
)
ROWS_OF_VOLUMES = (
    Row(
        "segment_volume",
        lambda to: to.volume.segment,
        "Whole object [{key}]",
        "The current object(s) in all slices: at once where whole objects are prepared, else from slice to slice.",
        ("v", "V"),
        "whole object: the current object in all slices",
    ),
    Row(
        "reopen_under_mouse",
        lambda to: to.stacks.reopen_under_mouse,
        keys=("o",),
        text="open the object under the mouse again",
    ),
    Row(
        "segment_all_slices",
        lambda to: to.volume.automatic.run,
        "Segment All in Volume",
        "Find the objects of the whole volume: by its maps where the model has them, else slice by slice with the "
        "method and thresholds of Segment All Objects.",
    ),
    Row("set_volume_threshold", lambda to: to.volume.automatic.set_threshold),
    Row(
        "show_sections",
        lambda to: to.volume.sections.show,
        "Sections",
        "Show the volume from the side, along y and x. A click there is a prompt, a right click goes there.",
    ),
)
ROWS_OF_TRACKS = (
    Row(
        "track_objects",
        lambda to: to.tracks.track_objects,
        "Track Object [{key}]",
        "Follow the current tracks from their prompts through the movie. After a correction only what follows it is "
        "tracked again.",
        ("v", "V"),
        "track the object(s)",
    ),
    Row(
        "toggle_state",
        lambda to: to.tracks.toggle_state,
        "track_state [{key}]",
        "Division: the object under the next click (or box) divides after this frame. Two daughters begin.",
        ("d",),
        "next prompt: track / division",
    ),
    Row(
        "next_track",
        lambda to: to.tracks.next_track,
        "Next [{key}]",
        "The next track of the menu: after a division, the other daughter.",
        ("e",),
        "next track (other daughter)",
    ),
    Row(
        "new_track",
        lambda to: to.tracks.new_track,
        "New [{key}]",
        "The next prompt begins a new track.",
        ("n",),
        "new track",
    ),
    Row(
        "reopen_under_mouse",
        lambda to: to.stacks.reopen_under_mouse,
        keys=("o",),
        text="correct the track under the mouse",
    ),
    Row(
        "set_track",
        lambda to: to.tracks.set_track,
        "track_id",
        "The track that the next prompts belong to. After a division it lists mother and daughters.",
    ),
    Row("set_state", lambda to: to.tracks.set_state),
    Row(
        "set_follows",
        lambda to: to.tracks.set_follows,
        "show the present frame",
        "The view goes along while a track grows, until you move to another frame.",
    ),
    Row(
        "segment_and_track_all",
        lambda to: to.tracks.segment_and_track_all,
        "Segment and Track All",
        "Find the objects of every frame with the method and thresholds of Segment All Objects, link them between "
        "frames, find divisions, and show the tracks in auto_segmentation; commit them with C.",
    ),
    Row(
        "link_segmentation",
        lambda to: to.tracks.link_segmentation,
        "Track Segmentation",
        "Link the objects of this layer between frames, find divisions, and show the tracks; commit them with C.",
    ),
    Row("show_track", lambda to: to.lineage.show_track),
    Row(
        "split_selected", lambda to: to.lineage.split, "Split here", "Cut the selected track before the frame in view."
    ),
    Row(
        "link_selected",
        lambda to: to.lineage.link,
        "Link",
        "Of two selected tracks, make the later one a daughter of the other. A mother that goes on is divided there.",
    ),
    Row("unlink_selected", lambda to: to.lineage.unlink, "Unlink", "Take the mother from the selected tracks."),
)
ROWS_OF_SERIES = (
    Row(
        "next_image",
        lambda series: series.next,
        "Next [{key}]",
        "Save, and go on to the next image.",
        ("n",),
        "next image",
    ),
    Row(
        "previous_image",
        lambda series: series.previous,
        "Previous [{key}]",
        "Save, and go back to the image before.",
        ("Shift-N",),
        "previous image",
    ),
    Row("go_to_image", lambda series: series.go_to, tip="Save, and show this image."),
)
