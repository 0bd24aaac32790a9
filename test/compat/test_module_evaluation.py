"""``micro_sam.evaluation`` with the calls of micro-sam 1.8."""

import pytest

from micro_sam import evaluation
from micro_sam.errors import InputError
from micro_sam.evaluation.evaluation import run_evaluation_for_iterative_prompting


def test_inference_from_prompts_and_corrections_is_evaluated(predictor, folder, tmp_path):
    images, truths = (sorted((folder / name).glob("*.tif")) for name in ("images", "labels"))
    evaluation.precompute_all_embeddings(predictor, images, tmp_path / "embeddings")
    assert (tmp_path / "embeddings" / "a.zarr").exists()
    evaluation.run_inference_with_prompts(
        predictor, images, truths, tmp_path / "embeddings", tmp_path / "boxes", True, True, 1, 1
    )
    table = evaluation.run_evaluation(truths, sorted((tmp_path / "boxes").glob("*.tif")), verbose=False)
    assert table["SA50"].item() > 0.9
    evaluation.run_inference_with_iterative_prompting(
        predictor,
        images,
        truths,
        tmp_path / "embeddings",
        tmp_path / "clicks",
        start_with_box_prompt=False,
        n_iterations=2,
        use_masks=True,
    )
    table = run_evaluation_for_iterative_prompting(truths, tmp_path / "clicks", tmp_path, use_masks=True)
    assert table["iteration"].tolist() == [0, 1] and table["SA50"].iloc[-1] > 0.7
    assert len(list((tmp_path / "results").glob("*.csv"))) == 1


def test_images_of_one_name_are_refused_since_their_results_would_have_one_name(predictor, tmp_path):
    images = [tmp_path / "x" / "a.tif", tmp_path / "y" / "a.tif"]
    with pytest.raises(InputError, match="images are called a"):
        evaluation.run_inference_with_prompts(predictor, images, images, None, tmp_path, True, True, 1, 1)
    with pytest.raises(InputError, match="images are called a"):
        run_evaluation_for_iterative_prompting(images, tmp_path, tmp_path)
