"""The shape of an image is understood, or refused with a proposal, before anything is computed."""

import numpy as np
import pytest
import zarr

from micro_sam.errors import AxesError, InputError
from micro_sam.io.checks import check_image, mix_channels, select_channel
from micro_sam.io.source import ImageSource


def image(*shape, dtype="uint8"):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    "shape, expected, is_rgb, words",
    [
        ((40, 56), (40, 56), False, ""),
        ((40, 56, 3), (40, 56, 3), True, ""),
        ((40, 56, 4), (40, 56, 3), True, "alpha"),
        ((3, 40, 56), (40, 56, 3), True, "colours"),
        ((4, 40, 56), (40, 56), False, "4 channels; channel 0"),
        ((2, 40, 56), (40, 56), False, "2 channels; channel 0"),
        ((40, 56, 2), (40, 56), False, "2 channels; channel 0"),
        ((40, 56, 7), (40, 56), False, "7 channels; channel 0"),
        ((1, 40, 56), (40, 56), False, "length 1"),
        ((1, 1, 40, 56, 1), (40, 56), False, "length 1"),
        ((1, 3, 40, 56), (40, 56, 3), True, "colours"),
        ((1, 1), (1, 1), False, ""),
        ((20000, 30), (20000, 30), False, ""),
        ((1, 1, 1), (1, 1), False, "length 1"),
    ],
)
def test_images_for_the_2d_tool(shape, expected, is_rgb, words):
    checked = check_image(image(*shape), "2d")
    assert checked.data.shape == expected and checked.is_rgb == is_rgb and checked.ndim == 2
    assert words in checked.note and bool(words) == bool(checked.note)
    assert checked.shape == expected[:2]


def test_channel_first_pixels_go_where_they_belong():
    first = image(3, 40, 56)
    assert np.array_equal(check_image(first).data, np.moveaxis(first, 0, -1))
    named = check_image(ImageSource(image(7, 40, 56), "CYX", (1.0, 0.5, 0.25)))
    assert named.n_channels == 7 and named.channel == 0 and named.scale == (0.5, 0.25)
    assert np.array_equal(named.data, image(7, 40, 56)[0])


@pytest.mark.parametrize(
    "shape, expected, is_rgb",
    [
        ((8, 40, 56), (8, 40, 56), False),
        ((1, 40, 56), (1, 40, 56), False),
        ((3, 40, 56), (3, 40, 56), False),
        ((8, 40, 56, 3), (8, 40, 56, 3), True),
        ((1, 8, 1, 40, 56), (8, 40, 56), False),
    ],
)
@pytest.mark.parametrize("tool", ["3d", "tracking"])
def test_stacks_for_the_3d_and_tracking_tools(shape, expected, is_rgb, tool):
    checked = check_image(image(*shape), tool)
    assert checked.data.shape == expected and checked.is_rgb == is_rgb and checked.ndim == 3


@pytest.mark.parametrize(
    "tool, data, words",
    [
        ("2d", image(8, 40, 56), "8 slices .annotator_3d.*time points .annotator_tracking"),
        ("2d", image(5), "at least two axes"),
        ("2d", image(2, 3, 4, 40, 56), "choose one channel"),
        ("2d", image(0, 40), "empty"),
        ("2d", np.zeros((4, 5), complex), "numbers"),
        ("2d", np.full((4, 5), "a"), "numbers"),
        ("3d", image(512, 512, 3), "annotator_2d"),
        ("3d", image(512, 512, 4), "annotator_2d"),
        ("3d", image(40, 56), "annotator_2d"),
        ("tracking", image(40, 56), "annotator_2d"),
        ("3d", image(5, 6, 40, 56), "choose one"),
        ("2d", ImageSource(image(8, 40, 56), "TYX"), "8 time points.*annotator_tracking"),
        ("2d", ImageSource(image(3, 40, 56), "ZYX"), "3 slices"),
        ("3d", ImageSource(image(4, 8, 40, 56), "TZYX"), "one time point"),
        ("3d", ImageSource(image(3, 40, 56), "CYX"), "annotator_2d"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_a_proposal(tool, data, words):
    with pytest.raises(InputError, match=words):
        check_image(data, tool)


@pytest.mark.parametrize(
    "tool, shape, readings",
    [
        ("3d", (3, 20, 40, 56), {"CZYX": "3 channels of 20 slices"}),
        ("3d", (20, 2, 40, 56), {"ZCYX": "20 slices with 2 channels"}),
        ("3d", (3, 5, 40, 56), {"CZYX": "3 channels of 5 slices", "ZCYX": "3 slices with 5 channels"}),
        ("tracking", (30, 2, 40, 56), {"TCYX": "30 time points with 2 channels"}),
        ("tracking", (3, 30, 40, 56), {"CTYX": "3 channels of 30 time points"}),
        ("3d", (1, 3, 20, 40, 56), {"SCZYX": "3 channels of 20 slices"}),
    ],
)
def test_four_axes_that_nothing_explains_are_asked_for(tool, shape, readings):
    data = image(*shape)
    with pytest.raises(AxesError, match="nothing says what its axes are: it could be") as question:
        check_image(data, tool)
    assert question.value.readings == readings
    assert "choose one of them and save it" in str(question.value)
    for axes in readings:
        checked = check_image(data, tool, axes=axes)
        channels, slices = data.shape[axes.index("C")], data.shape[axes.index("T" if tool == "tracking" else "Z")]
        assert checked.shape == (slices, 40, 56) and checked.n_channels == channels
        last = np.moveaxis(data, axes.index("C"), -1).reshape(slices, 40, 56, channels)
        assert np.array_equal(checked.data, last if checked.is_rgb else last[..., 0])


def test_axes_that_somebody_names_must_fit():
    assert check_image(ImageSource(image(8, 40, 56), "TYX"), "3d", axes="zyx").note == ""
    for axes in ("ZYX", "CZYZ", "CZYW"):
        with pytest.raises(InputError, match="one letter"):
            check_image(image(3, 8, 40, 56), "3d", axes=axes)
    with pytest.raises(InputError, match="one time point"):
        check_image(image(3, 8, 40, 56), "3d", axes="TZYX")


def test_what_the_file_says_about_its_axes_is_believed():
    four = ImageSource(image(2, 8, 40, 56), "CZYX", (1, 3, 0.5, 0.25))
    checked = check_image(four, "3d")
    assert checked.shape == (8, 40, 56) and checked.n_channels == 2 and checked.scale == (3, 0.5, 0.25)
    time = check_image(ImageSource(image(8, 40, 56), "TYX"), "3d")
    assert "time" in time.note and time.shape == (8, 40, 56)
    assert check_image(ImageSource(image(8, 40, 56), "TYX"), "tracking").note == ""
    assert check_image(ImageSource(image(8, 40, 56), "ZYX"), "tracking").note == ""
    single = check_image(ImageSource(image(1, 2, 1, 40, 56), "TCZYX"), "3d", channel=1)
    assert single.shape == (1, 40, 56) and np.array_equal(single.data[0], image(2, 40, 56)[1])
    for tool, axes in (("3d", "TCZYX"), ("tracking", "ZCTYX"), ("tracking", "TCZYX")):  # one of T and Z has no length
        movie = check_image(ImageSource(image(8, 1, 1, 40, 56), axes, (9.0, 1.0, 3.0, 0.5, 0.25)), tool)
        assert movie.shape == (8, 40, 56) and movie.scale == (1.0 if tool == "3d" else 9.0, 0.5, 0.25)
    turned = check_image(ImageSource(image(56, 40), "XY"), "2d")
    assert np.array_equal(turned.data, image(56, 40).T)


def test_channels_can_be_chosen_and_mixed():
    data = image(40, 56, 5, dtype="float32")
    assert np.array_equal(check_image(data, channel=3).data, data[..., 3])
    assert np.array_equal(select_channel(data, 4), data[..., 4])
    mixed = check_image(data, channel="mix")
    assert mixed.shape == (40, 56) and mixed.channel is None and mixed.n_channels == 5
    assert mix_channels(data).min() >= 0 and mix_channels(data).max() <= 1
    assert np.array_equal(check_image(image(40, 56, 3), channel=1).data, image(40, 56, 3)[..., 1])
    with pytest.raises(InputError, match="channels 0 to 4"):
        check_image(data, channel=5)


@pytest.mark.parametrize("dtype", [bool, "int64", "float32", "float64", "int8", "uint32", ">u2", "float16"])
def test_values_of_every_kind_are_accepted(dtype):
    data = image(40, 56).astype(dtype)
    if data.dtype.kind == "f":
        data[0, 0], data[0, 1], data[1] = np.nan, np.inf, -5
    assert check_image(data).data is data


def test_lazy_arrays_stay_lazy_unless_their_axes_must_move(tmp_path, monkeypatch):
    lazy = zarr.create_array(str(tmp_path / "a.zarr"), data=image(8, 40, 56), chunks=(1, 40, 56))
    assert check_image(lazy, "3d").data is lazy
    lazy = zarr.create_array(str(tmp_path / "b.zarr"), data=image(1, 8, 40, 56), chunks=(1, 1, 40, 56))
    assert np.array_equal(check_image(lazy, "3d").data, image(8, 40, 56))
    monkeypatch.setattr("micro_sam.io.checks.LARGEST_EAGER", 10)
    large = check_image(lazy, "3d").data
    assert not isinstance(large, np.ndarray) and np.array_equal(np.asarray(large[2]), image(8, 40, 56)[2])
