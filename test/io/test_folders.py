"""Folders of images: what in them is an image, and what is stacked."""

import numpy as np
import pytest
import tifffile

from micro_sam.errors import ChoiceError, InputError
from micro_sam.io.images import find_images, open_image


def write_folder(folder, names, shape=(40, 56)):
    folder.mkdir()
    for k, name in enumerate(names):
        tifffile.imwrite(folder / name, np.full(shape, k, "uint8"))


def test_images_and_masks_in_one_folder_are_not_stacked_unasked(tmp_path):
    names = [f"cell {k}.tif" for k in range(3)]
    write_folder(tmp_path / "day [1]", names + [f"cell {k}_mask.tif" for k in range(3)])
    with pytest.raises(ChoiceError, match="several kinds of images") as asked:
        open_image(tmp_path / "day [1]")
    assert list(asked.value.choices) == ["cell *[0-9].tif", "cell *[0-9]_mask.tif"]
    assert open_image(tmp_path / "day [1]", "cell *[0-9].tif").shape == (3, 40, 56)
    assert open_image(tmp_path / "day [1]" / "*_mask.tif").shape == (3, 40, 56), "[1] is a part of the name"


def test_results_beside_their_images_are_no_images(tmp_path):
    images = ["z1.tif", "z2.tif", "a.b.tif"]
    results = ["z1_objects.tif", "z1_seg.npy", "a.b_objects.tif"]
    write_folder(tmp_path / "in", images + [name for name in results if name.endswith("tif")] + ["z3_objects.tif"])
    np.save(tmp_path / "in" / "z1_seg.npy", {"masks": np.zeros((40, 56))}, allow_pickle=True)
    assert [path.name for path in find_images(tmp_path / "in")] == ["a.b.tif", "z1.tif", "z2.tif", "z3_objects.tif"]
    assert (
        len(find_images(tmp_path / "in", "*_objects.tif")) == 3 == len(find_images(tmp_path / "in", as_labels=True)) - 4
    )
    for name in ("a.b.tif", "a.b_objects.tif", "z3_objects.tif"):
        (tmp_path / "in" / name).unlink()
    assert open_image(tmp_path / "in").shape == (2, 40, 56)


def test_a_slice_that_is_a_link_to_nothing_is_missing(tmp_path):
    write_folder(tmp_path / "in", ["z1.tif", "z2.tif"])
    (tmp_path / "in" / "z3.tif").symlink_to("annex/z3.tif")
    with pytest.raises(InputError, match="z3.tif is a link to annex"):
        open_image(tmp_path / "in")
