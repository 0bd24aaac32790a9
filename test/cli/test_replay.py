"""``micro_sam.replay`` as a user runs it, on a session that came from another folder."""

import csv

import numpy as np
import pytest
import tifffile

from micro_sam.cli.replay import main
from micro_sam.embeddings.compute import precompute_image_embeddings
from micro_sam.embeddings.signature import hash_samples
from micro_sam.models.build import get_sam_model
from micro_sam.sample_data import open_sample
from micro_sam.session.journal import places
from micro_sam.session.journal.recorder import Journal
from micro_sam.session.session import Session

CHANNEL = 1


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with a session on the second channel of an image: two coins clicked, one painted, one automatic."""
    folder = tmp_path_factory.mktemp("there")
    coins = np.ascontiguousarray(open_sample("coins").image[:160, :200])
    both = np.stack([255 - coins, coins])
    predictor = get_sam_model("nano_lm", device="cpu")
    session = Session(coins.shape)
    session.model.attach(predictor, precompute_image_embeddings(predictor, coins, ndim=2, verbose=False))
    facts = {"name": "coins", "shape": list(coins.shape), "signature": hash_samples(both), "channel": CHANNEL}
    settings = {"model_type": "nano_lm"}
    header = places.make_header("2d", facts, folder / "coins.tif", folder / "old" / "c.session", settings)
    session.keeper.journal = Journal(folder / "old" / "c.session", header)
    for position in ((60, 50), (60, 110)):
        session.prompts.add_point(position)
        session.segment.slice()
        session.objects.commit()
    session.labels.paint("committed", (slice(5, 20), slice(5, 20)), np.full((15, 15), 3))
    auto = np.zeros(coins.shape, int)
    auto[120:150, 20:60] = 1
    session.automatic.show(auto)
    session.objects.commit("auto")
    session.keeper.journal.close()
    (folder / "moved here").mkdir()
    (folder / "old" / "c.session").rename(folder / "moved here" / "coins_objects.session")
    tifffile.imwrite(folder / "moved here" / "other name.tif", both, metadata={"axes": "CYX"}, imagej=True)
    return folder / "moved here", session.committed.copy()


def test_prompted_objects_are_segmented_anew_and_the_others_listed(recorded, capsys):
    folder, labels = recorded
    arguments = [str(folder / "coins_objects.session"), "-i", str(folder / "other name.tif")]
    assert main([*arguments, "-o", str(folder / "again.tif"), "--table", str(folder / "overlap.csv")]) == 0
    out = capsys.readouterr().out
    assert "2 prompted objects, mean IoU with the recorded ones: 1.0000" in out
    assert "taken as recorded: 3 (painted), 4 (auto)" in out
    assert np.array_equal(tifffile.imread(folder / "again.tif"), labels)
    rows = list(csv.DictReader((folder / "overlap.csv").open()))
    assert [row["taken_as_recorded"] for row in rows] == ["", "", "painted", "auto"]
    assert [float(row["iou"]) for row in rows[:2]] == [1, 1]


def test_another_image_and_no_session_are_said(recorded, capsys):
    folder, _ = recorded
    tifffile.imwrite(folder / "wrong.tif", np.zeros((160, 200), np.uint8))
    for arguments, sentence in (
        ([str(folder / "coins_objects.session"), "-i", str(folder / "wrong.tif")], "belongs to another image"),
        ([str(folder / "none.session"), "-i", str(folder / "wrong.tif")], "There is no session in"),
    ):
        assert main(arguments) == 2 and sentence in capsys.readouterr().err
