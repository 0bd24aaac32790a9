"""Everything that the user can do: one row has the caption, the tip, the keys, and what it does.

Buttons, switches, keys, the list of keys in the window and ``docs/keys.md`` come from these rows.
"""

from __future__ import annotations

from micro_sam.sam_annotator.actions import Row
from micro_sam.sam_annotator.controller.stack_rows import ROWS_OF_STACKS, ROWS_OF_TRACKS, ROWS_OF_VOLUMES
from micro_sam.sam_annotator.state.tool import Tool


def rows_of(tool: Tool) -> tuple[Row, ...]:
    """The rows of a tool."""
    hover = ROWS_OF_HOVER if tool.has_hover else ()
    stack = ROWS_OF_STACKS if tool.ndim == 3 else (SELECT_ONE,)
    work = {"volume": ROWS_OF_VOLUMES, "tracks": ROWS_OF_TRACKS}.get(tool.work, ())
    no_tracks = () if tool.work == "tracks" else (SPLIT_PIECES, *ROWS_OF_PROPOSALS)
    return (*ROWS_BEFORE, *hover, *ROWS, *no_tracks, *work, *stack)


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
        text="class 1; up to Shift-9: class 9",
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
        "delete_selected", lambda to: to.objects.delete, "Delete", "Remove the selected {noun}s. Undo brings them back."
    ),
    Row("go_to_object", lambda to: to.objects.go_to),
    Row("set_class", lambda to: to.objects.set_class),
    Row(
        "set_by_class",
        lambda to: to.objects.set_by_class,
        "Colour by class",
        "Show committed {noun}s in the colours of their classes; those without one are grey.",
    ),
    Row("define_class", lambda to: to.objects.define_class),
    Row(
        "save_class_image",
        lambda to: to.objects.save_class_image,
        "Class image...",
        "Write labels that hold the number of the class, to another place: Save writes them beside the {noun}s.",
    ),
    Row("save_table", lambda to: to.table.save),
    Row("review_skip", lambda to: to.review.next, "Next [{keys[review_next]}]", "Leave it for now."),
    Row("review_fine", lambda to: to.review.fine, "Fine", "This {noun} is right: on to the next."),
    Row("review_correct", lambda to: to.review.correct, "Correct", "Open it again, with its prompts."),
    Row("review_delete", lambda to: to.review.delete, "Delete", "Remove it; undo brings it back."),
    Row("review_stop", lambda to: to.review.stop, "End", "End the review."),
    # images, model, files
    Row("open_file", lambda to: to.opening.open_file, "Open image...", "Open an image file."),
    Row(
        "open_folder",
        lambda to: to.series_opening.open_folder,
        "Open folder...",
        "Annotate all images of a folder, one after the other. Their results go into a folder beside it, NAME_objects.",
    ),
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
        lambda to: to.automatic.segment,
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
    Row("set_look_closer", lambda to: to.automatic.set_look_closer),
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
        text="commit what is proposed there",
    ),
    Row("set_similarity", lambda to: to.similar.set_threshold),
)
SPLIT_PIECES = Row(
    "split_pieces",
    lambda to: to.objects.split,
    "Split",
    "Make an object of each of its pieces; the largest keeps the id.",
)
SELECT_ONE = Row("select_one", lambda to: to.objects.select_one)
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
