"""``micro_sam.prompt_based_segmentation`` with the calls of micro-sam 1.8."""

import numpy as np
import torch


def test_names_of_other_modules_lead_to_the_same_functions():
    from micro_sam import prompt_based_segmentation, segment_from_prompts
    from micro_sam._vendored import batched_mask_to_box, mask_to_rle_pytorch

    for name in segment_from_prompts.__all__:
        assert getattr(segment_from_prompts, name) is getattr(prompt_based_segmentation, name)
    mask = torch.zeros((2, 10, 10), dtype=torch.bool)
    mask[0, 7:9, 3:5] = True
    assert batched_mask_to_box(mask).tolist() == [[3, 7, 4, 8], [0, 0, 0, 0]]
    assert mask_to_rle_pytorch(mask)[0]["counts"] == [37, 2, 8, 2, 51]


def test_each_kind_of_prompt_gives_the_object(predictor, blobs, embeddings):
    from micro_sam import prompt_based_segmentation as pbs

    truth = blobs[1] == 1
    points, labels = np.array([[40, 50], [5, 5]]), np.array([1, 0])
    box = np.array([20, 24, 61, 77])
    found = {
        "points": pbs.segment_from_points(predictor, points, labels, embeddings, multimask_output=False),
        "box": pbs.segment_from_box(predictor, box, embeddings, box_extension=0.05),
        "box and points": pbs.segment_from_box_and_points(predictor, box, points, labels, embeddings),
        "mask": pbs.segment_from_mask(predictor, truth, embeddings, use_box=True, use_mask=True, use_points=True),
    }
    for name, mask in found.items():
        assert mask.shape == (1, *truth.shape), name
        assert (mask[0] & truth).sum() / (mask[0] | truth).sum() > 0.7, name
    *_, scores, logits = pbs.segment_from_points(predictor, points, labels, embeddings, return_all=True)
    assert scores.shape == (1,) and logits.shape == (1, 256, 256)
