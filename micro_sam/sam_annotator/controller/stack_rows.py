"""Rows of the table of actions that only volumes and movies have."""

from __future__ import annotations

from micro_sam.sam_annotator.actions import Row

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
        "whole object, in all slices",
    ),
    Row(
        "reopen_under_mouse",
        lambda to: to.stacks.reopen_under_mouse,
        keys=("o",),
        text="correct the object under the mouse",
    ),
    Row(
        "segment_all_slices",
        lambda to: to.volume.automatic.segment,
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
        "divide_as_found",
        lambda to: to.tracks.divisions.divide,
        "Divide [{key}]",
        "Two daughters begin here: mark the division, and follow them.",
        ("Shift-D",),
        "divide the track as it was found",
    ),
    Row(
        "is_one_object",
        lambda to: to.tracks.divisions.go_on,
        "One object",
        "It does not divide: a point says where it is, and it is followed farther.",
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
        lambda to: to.tracks.linking.segment_and_link,
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
    Row("split_selected", lambda to: to.lineage.split, "Split", "Cut the selected track before the frame in view."),
    Row(
        "link_selected",
        lambda to: to.lineage.link,
        "Link",
        "Of two selected tracks, make the later one a daughter of the other. A mother that goes on is divided there.",
    ),
    Row("unlink_selected", lambda to: to.lineage.unlink, "Unlink", "Take the mother from the selected tracks."),
)
