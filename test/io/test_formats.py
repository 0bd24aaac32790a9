"""What other programs write opens as they mean it: axes, units, sets of files, several images, what numbers mean."""

import json
import struct
import uuid

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from micro_sam.errors import ChoiceError, InputError
from micro_sam.io.checks import check_any, check_image, check_network_input
from micro_sam.io.images import find_images, load_image_data, open_image
from micro_sam.io.labels import load_labels


@pytest.fixture
def volume():
    return np.random.default_rng(0).integers(0, 255, (6, 40, 56)).astype("uint8")


def pixels(source):
    return np.asarray(source.data)


# ---------------------------------------------------------------- several images in one file


def test_pages_appended_one_by_one_are_one_stack(volume, tmp_path):
    for page in volume:
        tifffile.imwrite(tmp_path / "appended.tif", page, append=True)
    assert np.array_equal(pixels(open_image(tmp_path / "appended.tif")), volume)
    colours = np.stack([volume[0]] * 3, -1)
    for _ in range(4):
        tifffile.imwrite(tmp_path / "colours.tif", colours, append=True)
    assert check_image(open_image(tmp_path / "colours.tif"), "3d").shape == (4, 40, 56)


def test_positions_of_an_ome_tiff_are_listed_and_can_be_chosen(tmp_path):
    path = tmp_path / "positions.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for k in range(3):
            plane = np.full((4, 40, 56), 50 * k + 50, "uint8")
            file.write(plane, metadata={"axes": "ZYX", "Name": f"position {k}", "PhysicalSizeX": k + 1.0})
    first = open_image(path)
    assert first.shape == (4, 40, 56) and list(first.choices) == ["0", "1", "2"]
    assert "3 images" in check_image(first, "3d").note and "position 2" in first.note
    assert pixels(open_image(path, "2")).max() == 150 and pixels(open_image(path, "position 1")).max() == 100
    assert open_image(path, "2").scale == (1, 1, 3)
    with pytest.raises(ChoiceError, match="position 1") as error:
        open_image(path, "7")
    assert list(error.value.choices) == ["0", "1", "2"]


def test_an_axis_of_positions_is_asked_for_and_chosen_by_its_number(tmp_path):
    path = tmp_path / "regions.tif"
    data = np.arange(10 * 2 * 8 * 9).reshape(10, 2, 8, 9).astype("uint16")
    tifffile.imwrite(path, data, metadata={"axes": "TRYX"})
    for tool in ("2d", "3d", "tracking"):
        with pytest.raises(ChoiceError, match=r"2 positions \(R\); which one"):
            check_image(open_image(path), tool)
    one = check_image(open_image(path, "1"), "tracking")
    assert np.array_equal(one.data, data[:, 1])
    with pytest.raises(ChoiceError, match="position 0"):
        open_image(path, "2")
    with pytest.raises(ChoiceError, match="positions"):
        load_labels(path)


def test_an_overview_beside_the_image_is_listed(volume, tmp_path):
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(volume[0], metadata=None)
        file.write(volume[0, :12], metadata=None)
    source = open_image(tmp_path / "slide.tif")
    assert source.shape == (40, 56) and "2 images" in source.note
    assert open_image(tmp_path / "slide.tif", "1").shape == (12, 56)


@pytest.mark.parametrize("layout", ["series", "plate"])
def test_images_of_an_ome_zarr_are_listed_and_can_be_chosen(volume, tmp_path, layout):
    root = zarr.open_group(str(tmp_path / "many.zarr"), mode="w", zarr_format=2)
    names = ("0", "1") if layout == "series" else ("A/1/0", "B/2/0")
    for k, name in enumerate(names):
        group = root.create_group(name)
        group.create_array("0", data=volume[: 6 - k])
        axes = [{"name": n, "type": "space"} for n in "zyx"]
        group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    if layout == "series":
        root.attrs["bioformats2raw.layout"] = 3
    else:
        root.attrs["plate"] = {"wells": [{"path": "A/1"}, {"path": "B/2"}]}
        for well in ("A/1", "B/2"):
            root[well].attrs["well"] = {"images": [{"path": "0"}]}
    source = open_image(tmp_path / "many.zarr")
    assert source.shape == (6, 40, 56) and "2 images" in source.note and list(source.choices) == list(names)
    assert open_image(tmp_path / "many.zarr", names[1]).shape == (5, 40, 56)


def test_arrays_of_an_npz_are_chosen_by_name(volume, tmp_path):
    np.savez(tmp_path / "a.npz", raw=volume, other=volume[0], table=np.zeros(3))
    assert np.array_equal(load_image_data(tmp_path / "a.npz", "other"), volume[0])
    assert "2 images" in open_image(tmp_path / "a.npz").note


# ---------------------------------------------------------------- content, not the ending


@pytest.mark.parametrize("name", ["stack.lsm", "stack.btf", "stack.tf8", "stack.stk", "stack.png", "stack.raw"])
def test_a_tif_is_a_tif_whatever_its_name(volume, tmp_path, name):
    tifffile.imwrite(tmp_path / name, volume, bigtiff=name.endswith(("btf", "tf8")))
    source = open_image(tmp_path / name)
    assert check_image(source, "3d").shape == volume.shape and np.array_equal(pixels(source), volume)


def test_other_formats_are_known_by_their_content_too(volume, tmp_path):
    with h5py.File(tmp_path / "a.tif", "w") as file:
        file["raw"] = volume
    Image.fromarray(volume[0]).save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.tif")
    np.save(tmp_path / "c.npy", volume)
    (tmp_path / "c.npy").rename(tmp_path / "c.h5x")
    assert np.array_equal(load_image_data(tmp_path / "a.tif"), volume)
    assert np.array_equal(load_image_data(tmp_path / "b.tif"), volume[0])
    assert np.array_equal(load_image_data(tmp_path / "c.h5x"), volume)


# ---------------------------------------------------------------- one image in several files


def write_set(folder, missing=(), companion=False):
    folder.mkdir()
    ids = [str(uuid.UUID(int=z + 1)) for z in range(5)]
    planes = "".join(
        f'<TiffData IFD="0" FirstZ="{z}" FirstT="0" FirstC="0" PlaneCount="1"><UUID FileName="s_Z{z}.ome.tif">urn:uuid:'
        f"{ids[z]}</UUID></TiffData>"
        for z in range(5)
    )
    head = '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
    body = (
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="56" SizeY="40" '
        f'SizeZ="5" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )
    for z in range(5):
        xml = f'{head} UUID="urn:uuid:{ids[z]}">{body}'
        if companion:
            only = '<BinaryOnly MetadataFile="s.companion.ome" UUID="urn:uuid:1"/>'
            xml = f'{head} UUID="urn:uuid:{ids[z]}">{only}</OME>'
        if z not in missing:
            path = folder / f"s_Z{z}.ome.tif"
            tifffile.imwrite(path, np.full((40, 56), 100 + z, "uint16"), description=xml, metadata=None)
    if companion:
        (folder / "s.companion.ome").write_text(f'{head} UUID="urn:uuid:1">{body}')


@pytest.mark.parametrize("companion", [False, True])
def test_a_set_of_ome_tiffs_is_one_image_from_each_of_its_files_and_its_folder(tmp_path, companion):
    write_set(tmp_path / "set", companion=companion)
    paths = [tmp_path / "set" / "s_Z0.ome.tif", tmp_path / "set" / "s_Z3.ome.tif", tmp_path / "set"]
    for path in paths + ([tmp_path / "set" / "s.companion.ome"] if companion else []):
        source = open_image(path)
        assert source.shape == (5, 40, 56) and source.axes == "ZYX"
        assert pixels(source)[:, 0, 0].tolist() == [100, 101, 102, 103, 104]
    assert len(find_images(tmp_path / "set", "*.ome.tif")) == 1


def test_a_missing_file_of_a_set_is_named(tmp_path):
    write_set(tmp_path / "gap", missing=(2,))
    for path in (tmp_path / "gap" / "s_Z0.ome.tif", tmp_path / "gap"):
        with pytest.raises(InputError, match=r"s_Z2\.ome\.tif is missing"):
            open_image(path)


def test_an_ome_tiff_may_be_renamed(volume, tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", volume, metadata={"axes": "ZYX"})
    (tmp_path / "a.ome.tif").rename(tmp_path / "b.ome.tif")
    assert open_image(tmp_path / "b.ome.tif").axes == "ZYX"


# ---------------------------------------------------------------- folders


def write_folder(folder, names, shape=(40, 56)):
    folder.mkdir()
    for k, name in enumerate(names):
        tifffile.imwrite(folder / name, np.full(shape, k, "uint8"))


@pytest.mark.parametrize(
    "names, axes, shape",
    [
        ([f"img_000000000_{c}_{z:03}.tif" for z in range(4) for c in ("DAPI", "GFP")], "ZCYX", (4, 2)),
        ([f"a_z{z}_ch{c:02}.tif" for z in range(4) for c in range(2)], "ZCYX", (4, 2)),
        ([f"a_t{t:03}.tif" for t in range(4)], "TYX", (4,)),
        ([f"img_channel000_position000_time{t:09}_z{z:03}.tif" for t in range(2) for z in range(3)], "TZYX", (2, 3)),
        ([f"{c}.tif" for c in ("DAPI", "GFP")], "CYX", (2,)),
        ([f"slice{z}.tif" for z in (1, 2, 10)], "ZYX", (3,)),
        ([f"2024010{d}_{n:03}.tif" for d, n in ((1, 1), (1, 2), (2, 3))], "ZYX", (3,)),
    ],
)
def test_what_file_names_say_is_used_and_said(tmp_path, names, axes, shape):
    write_folder(tmp_path / "Pos0", names)
    source = open_image(tmp_path / "Pos0")
    assert source.axes == axes and source.shape == (*shape, 40, 56)
    assert pixels(source)[..., 0, 0].ravel().tolist() == list(range(len(names)))
    assert f"{len(names)} files" in source.note


@pytest.mark.parametrize(
    "names, key",
    [
        ([f"a_xy{p}_z{z}.tif" for p in (1, 2) for z in range(3)], "a_xy2_*"),
        ([f"img_{c}_{z}.tif" for c, n in (("DAPI", 4), ("GFP", 2)) for z in range(n)], "img_GFP_*"),
        ([f"{well}{z}.tif" for well in "AB" for z in range(3)], "B*"),
    ],
)
def test_positions_and_incomplete_grids_in_names_are_asked(tmp_path, names, key):
    write_folder(tmp_path / "folder", names)
    with pytest.raises(ChoiceError, match="not stacked unasked") as question:
        open_image(tmp_path / "folder")
    answer = next(k for k in question.value.choices if k.startswith(key[:-1]))
    assert open_image(tmp_path / "folder", answer).shape[0] == sum(n.startswith(key[:-1]) for n in names)


def test_mixed_types_in_a_folder_keep_their_values(tmp_path, monkeypatch):
    for name, value, dtype in (("a0", 200, "uint8"), ("a1", 50800, "uint16"), ("a2", 0.5, "float32")):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.full((40, 56), value, dtype))
    assert pixels(open_image(tmp_path))[:, 0, 0].tolist() == [200, 50800, 0.5]
    monkeypatch.setattr("micro_sam.io.formats.folders.LARGEST_EAGER_STACK", 10)
    with pytest.raises(InputError, match="uint16 values but a0.tif uint8"):
        pixels(open_image(tmp_path))


def test_digits_that_are_not_0_to_9_are_letters_of_a_name(tmp_path):
    tifffile.imwrite(tmp_path / "10²3.tif", np.zeros((40, 56), "uint8"))
    tifffile.imwrite(tmp_path / "10٣.tif", np.zeros((40, 56), "uint8"))
    assert open_image(tmp_path).shape == (2, 40, 56) and len(find_images(tmp_path)) == 2


# ---------------------------------------------------------------- what the numbers mean


def test_zero_is_white_is_inverted_for_images_and_not_for_labels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((40, 56), 20, "uint8"), photometric="miniswhite")
    tifffile.imwrite(tmp_path / "b.tif", np.full((40, 56), 20, "uint16"), photometric="miniswhite")
    assert pixels(open_image(tmp_path / "a.tif"))[0, 0] == 235 == Image.open(tmp_path / "a.tif").getpixel((0, 0))
    assert pixels(open_image(tmp_path / "b.tif"))[0, 0] == 65515
    assert load_labels(tmp_path / "a.tif")[0, 0] == 20


@pytest.mark.parametrize("name", ["inks.tif", "inks.jpg"])
def test_four_inks_become_colours(tmp_path, name):
    inks = np.zeros((40, 56, 4), "uint8")
    inks[..., 0] = 255
    inks[20:, 20:] = 0
    Image.fromarray(inks, "CMYK").save(tmp_path / name, quality=95)
    checked = check_image(open_image(tmp_path / name), "2d")
    wanted = Image.open(tmp_path / name).convert("RGB")
    for x, y in ((30, 30), (2, 2)):
        assert np.abs(np.asarray(checked.data)[y, x].astype(int) - wanted.getpixel((x, y))).max() < 12


@pytest.mark.parametrize("suffix", ["png", "tif", "gif"])
def test_a_palette_is_colours_in_a_picture_and_numbers_in_labels(tmp_path, suffix):
    index = np.zeros((40, 56), "uint8")
    index[20:30, 20:30] = 1
    picture = Image.fromarray(index, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    path = tmp_path / f"a.{suffix}"
    picture.save(path)
    shown = check_image(open_image(path), "2d")
    assert shown.is_rgb and np.asarray(shown.data)[25, 25].tolist() == [255, 0, 0]
    if suffix != "gif":
        assert np.array_equal(load_labels(path), index)
    picture.putpalette([255, 255, 255, 0, 0, 0] + [0] * 762)
    picture.save(path)
    grey = np.asarray(check_image(open_image(path), "2d").data)
    assert grey.shape == (40, 56) and grey[0, 0] == 255 and grey[25, 25] == 0


@pytest.mark.parametrize("flags, wanted", [(0, [100, 200]), (1, [-56, 100])])
def test_bytes_of_imod_have_no_sign_unless_it_says_so(tmp_path, flags, wanted):
    truth = np.full((4, 40, 56), 100, "uint8")
    truth[:, 20:] = 200
    head = bytearray(1024)
    head[:16] = struct.pack("<4i", 56, 40, 4, 0)
    head[28:40], head[40:52] = struct.pack("<3i", 56, 40, 4), struct.pack("<3f", 560, 400, 80)
    head[64:76], head[208:214] = struct.pack("<3i", 1, 2, 3), b"MAP DD"
    head[152:160] = struct.pack("<ii", 1146047817, flags)
    (tmp_path / "imod.mrc").write_bytes(bytes(head) + truth.tobytes())
    source = open_image(tmp_path / "imod.mrc")
    assert np.unique(pixels(source)).tolist() == wanted
    assert source.axes == "ZYX" and source.scale == pytest.approx((0.002, 0.001, 0.001))


# ---------------------------------------------------------------- axes that a container names


def test_axistags_of_hdf5_name_the_axes_of_images_and_labels(volume, tmp_path):
    tags = json.dumps({"axes": [{"key": k, "typeFlags": 2, "resolution": 0, "description": ""} for k in "xyz"]})
    with h5py.File(tmp_path / "xyz.h5", "w") as file:
        file.create_dataset("exported_data", data=volume.transpose(2, 1, 0)).attrs["axistags"] = tags
    with h5py.File(tmp_path / "tcyx.h5", "w") as file:
        data = file.create_dataset("exported_data", data=np.zeros((6, 2, 40, 56), "uint8"))
        data.attrs["axistags"] = json.dumps({"axes": [{"key": k} for k in "tcyx"]})
    with h5py.File(tmp_path / "zyxc.h5", "w") as file:
        data = file.create_dataset("exported_data", data=volume[..., None])
        data.attrs["axistags"] = json.dumps({"axes": [{"key": k} for k in "zyxc"]})
    assert np.array_equal(np.asarray(check_image(open_image(tmp_path / "xyz.h5"), "3d").data), volume)
    assert np.array_equal(load_labels(tmp_path / "xyz.h5", shape=volume.shape), volume)
    assert np.array_equal(load_labels(tmp_path / "zyxc.h5", shape=volume.shape), volume)  # as ilastik exports it
    checked = check_image(open_image(tmp_path / "tcyx.h5"), "tracking")
    assert checked.shape == (6, 40, 56) and checked.n_channels == 2


def test_hdf5_dimension_labels_and_element_sizes_are_used(volume, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("raw", data=volume.transpose(2, 1, 0))
        for k, name in enumerate("xyz"):
            data.dims[k].label = name
        file.create_dataset("table", data=np.zeros(4))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("raw", data=volume).attrs["element_size_um"] = (2.0, 0.5, 0.25)
    assert np.array_equal(np.asarray(check_image(open_image(tmp_path / "a.h5"), "3d").data), volume)
    assert open_image(tmp_path / "b.h5").scale == (2.0, 0.5, 0.25)


@pytest.mark.parametrize("version", ["0.1", "0.2"])
def test_early_ome_zarr_has_five_axes(tmp_path, version):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((1, 2, 12, 40, 56), "uint8"))
    group.attrs["multiscales"] = [{"version": version, "datasets": [{"path": "0"}]}]
    checked = check_image(open_image(tmp_path / "a.zarr"), "3d")
    assert checked.shape == (12, 40, 56) and checked.n_channels == 2


def test_axes_of_ome_zarr_may_be_texts_or_have_names_of_their_own(volume, tmp_path):
    for name, axes in (
        ("a", ["z", "y", "x"]),
        ("b", [{"name": n, "type": "space"} for n in ("dim_0", "dim_1", "dim_2")]),
    ):
        group = zarr.open_group(str(tmp_path / f"{name}.zarr"), mode="w", zarr_format=2)
        group.create_array("0", data=volume)
        group.attrs["multiscales"] = [{"version": "0.3", "axes": axes, "datasets": [{"path": "0"}]}]
        assert open_image(tmp_path / f"{name}.zarr").axes == "ZYX"


def test_labels_of_an_ome_zarr_follow_the_axes_that_they_name(tmp_path):
    truth = np.zeros((32, 32, 32), "uint16")
    truth[2:6, 10:20, 25:30] = 3
    group = zarr.open_group(str(tmp_path / "cube.zarr"), mode="w", zarr_format=2)
    for one in (group, group.create_group("labels/cells")):
        one.create_array("0", data=truth.transpose(2, 1, 0).copy())
        axes = [{"name": k, "type": "space"} for k in "xyz"]
        one.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]
    group["labels"].attrs["labels"] = ["cells"]
    group["labels/cells"].attrs["image-label"] = {"version": "0.4"}
    image = check_image(open_image(tmp_path / "cube.zarr"), "3d")
    assert np.array_equal(np.asarray(image.data), truth)
    for key in ("labels/cells", "labels/cells/0", None):
        assert np.array_equal(load_labels(tmp_path / "cube.zarr", key, shape=image.shape), truth)


def test_names_of_zarr_3_and_xarray_are_axes(volume, tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), data=volume.transpose(2, 1, 0).copy(), dimension_names=["x", "y", "z"])
    group = zarr.open_group(str(tmp_path / "b.zarr"), mode="w", zarr_format=2)
    array = group.create_array("raw", data=volume.transpose(1, 2, 0).copy())
    array.attrs["_ARRAY_DIMENSIONS"] = ["row", "column", "time"]
    group.create_array("time", data=np.arange(6.0))
    assert np.array_equal(np.asarray(check_image(open_image(tmp_path / "a.zarr"), "3d").data), volume)
    assert np.array_equal(load_labels(tmp_path / "a.zarr"), volume)
    moving = check_image(open_image(tmp_path / "b.zarr"), "tracking")
    assert np.array_equal(np.asarray(moving.data), volume)


@pytest.mark.parametrize("shape", [(3, 200, 300), (200, 300, 3), (2, 200, 300), (7, 200, 300), (200, 300)])
def test_one_rule_for_axes_in_the_window_and_in_the_library(shape):
    image = np.zeros(shape, "uint8")
    library = check_any(image)
    try:
        window = check_image(image, "2d")
    except InputError:
        window = check_image(image, "3d")
    assert (library.shape, library.is_rgb, library.n_channels) == (window.shape, window.is_rgb, window.n_channels)


def test_planes_that_nothing_explains_are_colours_if_they_are_three():
    colours = check_network_input(np.zeros((3, 200, 300), "uint8"))
    assert colours.is_rgb and colours.ndim == 2 and colours.data.shape == (200, 300, 3)
    for count in (2, 4, 7):  # nobody can choose a channel there
        assert check_network_input(np.zeros((count, 200, 300), "uint8")).shape == (count, 200, 300)
    with pytest.raises(InputError, match="choose one"):
        check_network_input(np.zeros((200, 300, 2), "uint8"))
    assert check_network_input(np.zeros((3, 200, 300), "uint8"), ndim=3).shape == (3, 200, 300)


# ---------------------------------------------------------------- units


def test_each_axis_has_its_own_unit(volume, tmp_path):
    sizes = {"PhysicalSizeX": 200.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 200.0, "PhysicalSizeYUnit": "nm"}
    sizes |= {"PhysicalSizeZ": 1.0, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", volume, ome=True, metadata={"axes": "ZYX", **sizes})
    source = open_image(tmp_path / "a.ome.tif")
    assert source.scale == pytest.approx((1, 0.2, 0.2)) and source.unit == "µm"
    units = {"unit": "nm", "zunit": "micron", "spacing": 1.0}
    tifffile.imwrite(
        tmp_path / "b.tif", volume, imagej=True, resolution=(1 / 200, 1 / 200), metadata={"axes": "ZYX", **units}
    )
    assert open_image(tmp_path / "b.tif").scale == pytest.approx((1, 0.2, 0.2))
    group = zarr.open_group(str(tmp_path / "c.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=volume)
    named = zip("zyx", ("micrometer", "nanometer", "nanometer"), strict=True)
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 200.0, 200.0]}]}
    axes = [{"name": n, "type": "space", "unit": u} for n, u in named]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    assert open_image(tmp_path / "c.zarr").scale == pytest.approx((1, 0.2, 0.2))
    tifffile.imwrite(tmp_path / "d.tif", volume[0], resolution=(20000, 20000), resolutionunit="CENTIMETER")
    assert open_image(tmp_path / "d.tif").scale == pytest.approx((0.5, 0.5))
    tifffile.imwrite(tmp_path / "e.tif", volume[0], resolution=(72, 72), resolutionunit="INCH")  # a printer's
    assert open_image(tmp_path / "e.tif").scale is None


def test_n5_sizes_and_axes_are_read_in_its_own_order(volume, tmp_path):
    from test_images import write_n5

    write_n5(tmp_path / "a.n5" / "raw", volume, (6, 40, 56), "raw")
    file = tmp_path / "a.n5" / "raw" / "attributes.json"
    extra = {"axes": ["x", "y", "z"], "resolution": [4, 8, 30], "units": ["nm", "nm", "nm"]}
    file.write_text(json.dumps(json.loads(file.read_text()) | extra))
    source = open_image(tmp_path / "a.n5")
    assert source.axes == "ZYX" and source.scale == pytest.approx((0.03, 0.008, 0.004))


# ---------------------------------------------------------------- microscopes


def test_czi_gives_channels_sizes_and_scenes():
    pytest.importorskip("czifile")
    from pathlib import Path

    files = Path(__file__).parent / "files"
    checked = check_image(open_image(files / "two_channels.czi"), "3d")
    assert checked.shape == (3, 40, 56) and checked.n_channels == 2 and checked.scale == pytest.approx((1, 0.2, 0.2))
    with pytest.raises(ChoiceError, match="2 positions"):
        check_image(open_image(files / "two_scenes.czi"), "3d")
    second = check_image(open_image(files / "two_scenes.czi", "1"), "3d")
    assert np.array_equal(np.asarray(second.data), np.asarray(checked.data))


def test_lif_gives_channels_sizes_and_images(tmp_path):
    pytest.importorskip("liffile")
    from microscope_files import write_lif

    data = np.random.default_rng(0).integers(0, 60000, (3, 2, 40, 56)).astype("uint16")
    write_lif(tmp_path / "a.lif", {"first": data, "second": data[:2]})
    source = open_image(tmp_path / "a.lif")
    checked = check_image(source, "3d")
    assert np.array_equal(np.asarray(checked.data), data[:, 0]) and checked.scale == pytest.approx((1, 0.2, 0.2))
    assert "2 images" in checked.note
    assert open_image(tmp_path / "a.lif", "second").shape == (2, 2, 40, 56)


@pytest.mark.parametrize(
    "name, head, reader",
    [("a.czi", b"ZISRAWFILE", "czifile"), ("a.nd2", b"\xda\xce\xbe\x0a", "nd2"), ("a.lif", b"p\0\0\0....*", "liffile")],
)
def test_a_reader_that_is_not_installed_is_named_with_the_command(tmp_path, monkeypatch, name, head, reader):
    monkeypatch.setitem(__import__("sys").modules, reader, None)
    (tmp_path / name).write_bytes(head + bytes(100))
    with pytest.raises(InputError, match=rf"{reader}.*pip install 'micro_sam\[formats\]'"):
        open_image(tmp_path / name)
