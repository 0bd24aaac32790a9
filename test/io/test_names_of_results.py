"""Names of results: no two images share a file."""

from __future__ import annotations

import numpy as np

from micro_sam.io.names import unique_names


def test_images_with_the_same_stem_are_told_apart_by_suffix_folders_or_number():
    names = unique_names(["x/a.tif", "y/a.tif", "x/a.png", "x/b.tif", np.zeros((2, 2)), np.zeros((2, 2))])
    assert names == ["x_a_tif", "y_a_tif", "a_png", "b", "seg_00004", "seg_00005"]


def test_as_many_folders_as_are_needed_are_named():
    names = unique_names(["/data/x/1/a.tif", "/data/y/1/a.tif", "/data/../a.tif", "/a.tif"])
    assert names[:3] == ["x_1_a_tif", "y_1_a_tif", "data_a_tif"]
    assert len(set(names)) == 4 and not any("/" in name or name.startswith(".") for name in names)


def test_a_name_that_another_image_has_already_is_not_given_twice():
    assert unique_names(["a.tif", "a.png", "a_tif.png"]) == ["a_00000", "a_png", "a_tif"]
    assert len(set(unique_names(["a.tif", "a.tif", "a_00000.tif"]))) == 3
