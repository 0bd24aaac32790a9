"""``micro_sam.prompt_generators`` with the calls of micro-sam 1.8."""

import numpy as np
import torch

from micro_sam import prompt_generators


def test_corrections_lie_where_the_prediction_is_wrong():
    truth, found = np.zeros((1, 1, 40, 50), bool), np.zeros((1, 1, 40, 50), bool)
    truth[..., 10:20, 10:30], found[..., 10:20, 20:40] = True, True
    generator = prompt_generators.IterativePromptGenerator(seed=0)
    for prediction in (found, torch.from_numpy(found).float()):
        points, labels, boxes, masks = generator(torch.from_numpy(truth), prediction)
        assert points.shape == (1, 2, 2) and labels.tolist() == [[1, 0]] and boxes is None and masks is None
        (px, py), (nx, ny) = points[0].tolist()
        assert 10 <= px < 20 and 10 <= py < 20 and 30 <= nx < 40 and 10 <= ny < 20
    right = generator(truth, truth)[0][0].tolist()
    assert truth[0, 0][right[0][1], right[0][0]] and not truth[0, 0][right[1][1], right[1][0]]


def test_the_centre_that_is_given_is_the_first_point():
    mask = np.zeros((1, 1, 40, 50), bool)
    mask[..., 10:20, 10:30] = True
    generator = prompt_generators.PointAndBoxPromptGenerator(1, 0, 0, True, True)
    for centre, expected in (((12, 25), [25, 12]), ((0, 0), None)):
        points, _, boxes, _ = generator(mask, [(10, 10, 20, 30)], [centre])
        x, y = points[0, 0].tolist()
        assert mask[0, 0, y, x] and (expected is None or [x, y] == expected)
        assert boxes.tolist() == [[10, 10, 30, 20]]


def test_both_generators_are_of_one_kind():
    base = prompt_generators.PromptGeneratorBase
    for generator in (
        prompt_generators.IterativePromptGenerator(),
        prompt_generators.PointAndBoxPromptGenerator(1, 1, 8, True, False),
    ):
        assert isinstance(generator, base)
