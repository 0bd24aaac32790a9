"""Samples open offline, say where they come from, and their ground truth is exact."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.io.tracks import daughters
from micro_sam.sample_data import download, open_sample, sample_names
from micro_sam.sample_data.synthetic import dividing_cells, nuclei_volume


@pytest.mark.parametrize("name", sample_names(offline=True))
def test_a_sample_opens_without_network_and_states_its_origin(name):
    sample = open_sample(name)
    assert sample.name == name and sample.name in sample_names(sample.kind)
    assert sample.source and sample.licence and sample.description
    assert sample.image.ndim == {"2d": 2, "3d": 3, "tracking": 3}[sample.kind] + (sample.image.shape[-1] == 3)
    if sample.labels is not None:
        assert sample.labels.dtype == np.uint32 and sample.labels.shape == sample.image.shape


def test_every_kind_has_a_sample_that_needs_no_network():
    assert all(sample_names(kind, offline=True) for kind in ("2d", "3d", "tracking"))


def test_an_unknown_sample_is_refused_with_the_names_that_exist():
    with pytest.raises(InputError, match="dividing_cells"):
        open_sample("nothing")
    with pytest.raises(InputError, match="kind"):
        sample_names("4d")


def test_generated_volumes_repeat_and_every_object_spans_slices():
    image, labels = nuclei_volume(seed=3)
    again, _ = nuclei_volume(seed=3)
    assert np.array_equal(image, again)
    ids = np.unique(labels)[1:]
    assert len(ids) > 10 and np.array_equal(ids, np.arange(1, len(ids) + 1))
    n_slices = [np.unique(np.nonzero(labels == i)[0]).size for i in ids]
    assert np.median(n_slices) >= 6
    assert image[labels > 0].mean() > 2 * image[labels == 0].mean()


def test_the_lineage_of_a_generated_movie_is_the_one_in_its_labels():
    _, labels, tracks = dividing_cells(seed=1)
    assert {row.track_id for row in tracks} == set(np.unique(labels)[1:].tolist())
    by_id = {row.track_id: row for row in tracks}
    for row in tracks:
        frames = np.nonzero((labels == row.track_id).any(axis=(1, 2)))[0]
        assert np.array_equal(frames, np.arange(row.start, row.end + 1))
        if row.parent:
            assert by_id[row.parent].end == row.start - 1
    assert len(daughters(tracks)) == 4 and all(len(two) == 2 for two in daughters(tracks).values())


def test_a_sample_that_cannot_be_fetched_says_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    remote = download.RemoteFile("x.tif", (tmp_path / "missing.tif").as_uri(), "0" * 64)
    with pytest.raises(InputError, match="by hand") as problem:
        download.fetch_sample(remote)
    assert str(tmp_path / "sample_data" / "x.tif") in str(problem.value)


def test_a_file_with_another_content_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    (tmp_path / "there.tif").write_bytes(b"not an image")
    remote = download.RemoteFile("x.tif", (tmp_path / "there.tif").as_uri(), "0" * 64)
    with pytest.raises(InputError, match="another content"):
        download.fetch_sample(remote)
    assert not list((tmp_path / "sample_data").iterdir())
