"""Figures of merit of label images, and the command that prints them."""

import numpy as np
import pytest

from micro_sam.errors import InputError
from micro_sam.evaluation import run_evaluation
from micro_sam.evaluation.metrics import compare_labels


@pytest.fixture
def truth():
    labels = np.zeros((40, 60), "uint16")
    labels[5:15, 5:15], labels[20:30, 20:40], labels[5:15, 40:50] = 1, 2, 3
    return labels


def test_a_perfect_segmentation_scores_one_whatever_its_ids(truth):
    assert compare_labels(truth.astype("int64") * 10, truth) == {"mSA": 1, "SA50": 1, "SA75": 1, "dice": 1}


def test_known_figures(truth):
    found = truth.copy()
    found[found == 3] = 0  # missed
    found[5:8, 5:15] = found[8, 5:13] = 0  # IoU of object 1: 0.62
    figures = compare_labels(found, truth)
    assert figures["SA50"] == pytest.approx(2 / 3) and figures["SA75"] == pytest.approx(1 / 4)
    assert figures["mSA"] == pytest.approx((3 * 2 / 3 + 7 * 1 / 4) / 10)
    assert figures["dice"] == pytest.approx(2 * 262 / (262 + 400))


def test_empty_images(truth):
    empty = np.zeros_like(truth)
    assert set(compare_labels(empty, empty).values()) == {1.0}
    assert set(compare_labels(empty, truth).values()) == set(compare_labels(truth, empty).values()) == {0.0}


def test_files_and_arrays_make_a_table(truth, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", truth)
    table = run_evaluation([truth, truth], [tmp_path / "a.tif", np.zeros_like(truth)], verbose=False)
    assert list(table.columns) == ["mSA", "SA50", "SA75", "dice"] and table["mSA"][0] == 0.5
    run_evaluation([truth], [truth], tmp_path / "out.csv", verbose=False)
    assert "mSA" in (tmp_path / "out.csv").read_text()


def test_what_cannot_be_compared_is_said(truth):
    with pytest.raises(InputError, match="shape"):
        run_evaluation([truth], [truth[:20]], verbose=False)
    with pytest.raises(InputError, match="2 label images of the truth"):
        run_evaluation([truth] * 2, [truth])
    with pytest.raises(InputError, match="nothing to evaluate"):
        run_evaluation([], [])


def test_the_command_prints_figures_and_refuses_what_is_missing(truth, tmp_path, capsys):
    import tifffile

    from micro_sam.cli.evaluate import main

    (tmp_path / "truth").mkdir()
    (tmp_path / "found").mkdir()
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / "truth" / f"{name}.tif", truth)
        tifffile.imwrite(tmp_path / "found" / f"{name}.tif", truth)
    arguments = ["-l", str(tmp_path / "truth"), "-s", str(tmp_path / "found")]
    assert main([*arguments, "-o", str(tmp_path / "figures.csv")]) == 0
    assert "mean of 2: mSA 1.0000" in capsys.readouterr().out
    assert (tmp_path / "figures.csv").read_text().count("\n") == 3
    (tmp_path / "found" / "b.tif").unlink()
    assert main(arguments) == 2 and "b.tif" in capsys.readouterr().err
    assert main(["-l", str(tmp_path / "nowhere"), "-s", str(tmp_path)]) == 2


def test_a_folder_of_results_may_hold_tables_sessions_and_notes(truth, tmp_path, capsys):
    import tifffile

    from micro_sam.cli.evaluate import main
    from micro_sam.io.labels import save_labels

    for folder, suffix in (("truth", "tif"), ("found", "ome.zarr")):
        (tmp_path / folder / "a2.session").mkdir(parents=True)
        (tmp_path / folder / "README.txt").write_text("of both")
        for name in ("a2", "a10"):
            (tmp_path / folder / f"{name}.csv").write_text("id,pixels")
            save_labels(tmp_path / folder / f"{name}.{suffix}", truth * (name != "a10"))
    assert main(["-l", str(tmp_path / "truth"), "-s", str(tmp_path / "found")]) == 0
    assert "mean of 2: mSA 1.0000" in capsys.readouterr().out
    for name in ("a02", "a10"):
        tifffile.imwrite(tmp_path / f"{name}.tif", truth * (name != "a10"))
    folders = [
        "-l",
        str(tmp_path / "truth"),
        "-s",
        str(tmp_path),
        "--label_key",
        "a*.tif",
        "--prediction_key",
        "a*.tif",
    ]
    assert main(folders) == 0, "pairs go by the order of numbers"
    assert "mean of 2: mSA 1.0000" in capsys.readouterr().out
    for suffix in ("png", "npy"):
        save_labels(tmp_path / "found" / f"a2.{suffix}", truth)
    assert main(["-l", str(tmp_path / "truth"), "-s", str(tmp_path / "found")]) == 2
    assert "could both be the segmentation of a2.tif" in capsys.readouterr().err
