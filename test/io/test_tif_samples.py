"""Several samples per pixel in a tif: colours, channels, or what is opaque."""

import numpy as np
import pytest
import tifffile

from micro_sam.errors import InputError
from micro_sam.io.checks import check_image
from micro_sam.io.images import open_image

PLANE = np.arange(40 * 56, dtype="uint16").reshape(40, 56)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("count", [2, 4])
def test_grey_samples_of_which_none_is_opaque_are_channels(tmp_path, count, planarconfig):
    samples = np.stack([PLANE * (k + 1) for k in range(count)], -1 if planarconfig == "contig" else 0)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", planarconfig=planarconfig)
    found = check_image(open_image(tmp_path / "a.tif"))
    assert found.n_channels == count and np.array_equal(found.data, PLANE)
    last = check_image(open_image(tmp_path / "a.tif"), channel=count - 1).data
    assert np.array_equal(last, PLANE * count)


def test_a_grey_sample_that_is_opaque_is_no_channel(tmp_path):
    samples = np.stack([PLANE, np.full_like(PLANE, 65535)], -1)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", extrasamples=["unassalpha"])
    assert check_image(open_image(tmp_path / "a.tif")).n_channels == 1


def test_a_narrow_stack_says_how_to_name_its_axes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((10, 50, 3), "uint8"), photometric="minisblack")
    with pytest.raises(InputError, match="--axes ZYX"):
        check_image(open_image(tmp_path / "a.tif"), "3d")
    assert check_image(open_image(tmp_path / "a.tif"), "3d", axes="ZYX").shape == (10, 50, 3)
