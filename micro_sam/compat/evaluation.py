"""Inference and evaluation over many images with the calls of micro-sam 1.x."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from micro_sam.embeddings.compute import precompute_image_embeddings
from micro_sam.errors import InputError
from micro_sam.evaluation.metrics import run_evaluation
from micro_sam.io.images import open_image
from micro_sam.io.label_arrays import consecutive_ids
from micro_sam.io.labels import load_labels, save_labels
from micro_sam.segmentation.labels import paint_by_score, segmentation_to_one_hot
from micro_sam.segmentation.prompt_generators import PointAndBoxPromptGenerator
from micro_sam.segmentation.prompted.objects import ObjectPrompt, segment_in_tiles
from micro_sam.segmentation.values import ObjectMask

if TYPE_CHECKING:
    from micro_sam.embeddings.embeddings import Embeddings
    from micro_sam.models.predictor import Predictor

__all__ = [
    "precompute_all_embeddings",
    "refuse_grid_search",
    "run_evaluation_for_iterative_prompting",
    "run_inference_with_iterative_prompting",
    "run_inference_with_prompts",
]

Paths = Sequence[str | os.PathLike[str]]


def precompute_all_embeddings(predictor: Predictor, image_paths: Paths, embedding_dir: str | os.PathLike[str]) -> None:
    """Compute the embeddings of images and keep them as ``<embedding_dir>/<name>.zarr``."""
    for path in tqdm(list(image_paths), desc="Embed"):
        _embed(predictor, path, embedding_dir)


def run_inference_with_prompts(
    predictor: Predictor,
    image_paths: Paths,
    gt_paths: Paths,
    embedding_dir: str | os.PathLike[str] | None,
    prediction_dir: str | os.PathLike[str],
    use_points: bool,
    use_boxes: bool,
    n_positives: int,
    n_negatives: int,
    dilation: int = 5,
    prompt_save_dir: str | os.PathLike[str] | None = None,
    batch_size: int = 512,
) -> None:
    """Segment the objects of images from prompts that are derived from their true labels.

    Parameters
    ----------
    predictor : Predictor
    image_paths, gt_paths : sequences of paths
        In the same order.
    embedding_dir : path, optional
        Cache of the embeddings.
    prediction_dir : path
        Gets a label image for each image, of its name.
    use_points, use_boxes : bool
        The prompts.
    n_positives, n_negatives, dilation
        See ``prompt_generators.PointAndBoxPromptGenerator``.
    prompt_save_dir, batch_size
        Taken for scripts; prompts are the same in every run.
    """
    if not (use_points or use_boxes):
        raise InputError("Use points, boxes, or both as prompts.")
    for image, truth, target in _missing(image_paths, gt_paths, prediction_dir):
        embeddings = _embed(predictor, image, embedding_dir)
        labels = load_labels(truth)
        generator = PointAndBoxPromptGenerator(n_positives, n_negatives, dilation, use_points, use_boxes, seed=0)
        masks = segmentation_to_one_hot(labels)
        points, kinds, boxes, _ = generator(masks) if len(masks) else (None, None, None, None)
        found = []
        for k in range(len(masks)):
            known = np.zeros(0, bool) if kinds is None else kinds[k].numpy() >= 0
            prompt = ObjectPrompt(
                np.zeros((0, 2)) if points is None else points[k].numpy()[known][:, ::-1].astype(float),
                np.zeros(0, "int64") if kinds is None else kinds[k].numpy()[known],
                box=None if boxes is None else boxes[k].numpy()[[1, 0, 3, 2]].astype(float),
            )
            found.append(segment_in_tiles(predictor, embeddings, None, prompt))
        _save(target, found, labels.shape)


def run_inference_with_iterative_prompting(
    predictor: Predictor,
    image_paths: Paths,
    gt_paths: Paths,
    embedding_dir: str | os.PathLike[str] | None,
    prediction_dir: str | os.PathLike[str],
    start_with_box_prompt: bool = True,
    dilation: int = 5,
    batch_size: int = 32,
    n_iterations: int = 8,
    use_masks: bool = False,
) -> None:
    """Segment the objects of images from a first prompt and corrections where the last answer was wrong.

    The corrections are those of ``evaluation.interactive``. The results are label images in
    ``<prediction_dir>/iteration00``, ``iteration01``, ...

    Parameters
    ----------
    start_with_box_prompt : bool
        The first prompt is the box of the object, else its innermost pixel.
    n_iterations : int
        Results per image: the first prompt and one less corrections.
    dilation, batch_size
        Taken for scripts.
    use_masks : bool
        Give the model its last answer as mask prompt.

    The others are those of :func:`run_inference_with_prompts`.
    """
    from skimage.measure import regionprops

    from micro_sam.evaluation.interactive import next_click
    from micro_sam.segmentation.prompt_generators import innermost

    folders = [Path(prediction_dir) / f"iteration{k:02}" for k in range(n_iterations)]
    for image, truth, _ in _missing(image_paths, gt_paths, folders[-1]):
        embeddings = _embed(predictor, image, embedding_dir)
        labels = load_labels(truth)
        found: list[list[ObjectMask]] = [[] for _ in folders]
        for one in regionprops(consecutive_ids(labels)[0]):
            wanted = ObjectMask(tuple(one.bbox), one.image)
            points: list[tuple[int, int]] = []
            kinds: list[int] = []
            if not start_with_box_prompt:
                y, x = innermost(wanted.mask)
                points, kinds = [(y + wanted.box[0], x + wanted.box[1])], [1]
            answer: ObjectMask | None = None
            for k in range(n_iterations):
                click = next_click(wanted, answer) if answer is not None else None
                if click is not None:
                    points.append(click[0])
                    kinds.append(click[1])
                if answer is None or click is not None:
                    prompt = ObjectPrompt(
                        np.array(points, float).reshape(-1, 2),
                        np.array(kinds, "int64"),
                        box=np.array(wanted.box, float) if start_with_box_prompt else None,
                        previous=answer if use_masks else None,
                    )
                    answer = segment_in_tiles(predictor, embeddings, None, prompt)
                found[k].append(answer)
        for folder, objects in zip(folders, found, strict=True):
            _save(folder / f"{Path(image).stem}.tif", objects, labels.shape)


def run_evaluation_for_iterative_prompting(
    gt_paths: Paths,
    prediction_root: str | os.PathLike[str],
    experiment_folder: str | os.PathLike[str],
    start_with_box_prompt: bool = False,
    overwrite_results: bool = False,
    use_masks: bool = False,
) -> pd.DataFrame:
    """The figures of merit of every iteration, also written as CSV into ``<experiment_folder>/results``.

    Parameters
    ----------
    gt_paths : sequence of paths
    prediction_root : path
        What :func:`run_inference_with_iterative_prompting` wrote.
    experiment_folder : path
    start_with_box_prompt, use_masks : bool
        Part of the name of the table.
    overwrite_results : bool
        Evaluate again although the table is there.

    Returns
    -------
    DataFrame
        One row per iteration, with the columns of ``evaluation.run_evaluation``.
    """
    name = f"iterative_prompts_start_{'box' if start_with_box_prompt else 'point'}{'_with_mask' * use_masks}.csv"
    table_path = Path(experiment_folder) / "results" / name
    if table_path.exists() and not overwrite_results:
        return pd.read_csv(table_path)
    _check_names(gt_paths)
    rows = []
    for folder in sorted(Path(prediction_root).glob("iteration*")):
        predictions = [folder / f"{Path(path).stem}.tif" for path in gt_paths]
        rows.append(run_evaluation(gt_paths, predictions, verbose=False).assign(iteration=int(folder.name[9:])))
    if not rows:
        raise InputError(f"There are no folders iteration00, iteration01, ... in {prediction_root}.")
    table = pd.concat(rows, ignore_index=True)
    table_path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(table_path, index=False)
    return table


def refuse_grid_search(*_: Any, **__: Any) -> None:
    """Not supported: grid searches over thresholds.

    Raises
    ------
    InputError
    """
    raise InputError(
        "Grid searches over whole experiments are not supported. Segment the images with "
        "micro_sam.automatic_segmentation (get_predictor_and_segmenter, automatic_instance_segmentation) for the "
        "thresholds you want to compare, and compare the results with micro_sam.evaluation.run_evaluation."
    )


def _missing(image_paths: Paths, gt_paths: Paths, folder: str | os.PathLike[str]) -> Iterable[tuple[Path, Path, Path]]:
    if len(image_paths) != len(gt_paths):
        raise InputError(f"There are {len(image_paths)} images, but {len(gt_paths)} label images.")
    _check_names(image_paths)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for image, truth in zip(tqdm(list(image_paths), desc="Segment"), gt_paths, strict=True):
        target = Path(folder) / f"{Path(image).stem}.tif"
        if not target.exists():
            yield Path(image), Path(truth), target


def _check_names(paths: Paths) -> None:
    """InputError when two images would have one result: results are called as their images."""
    double = next((name for name, n in Counter(Path(path).stem for path in paths).items() if n > 1), None)
    if double is not None:
        raise InputError(
            f"Several images are called {double}, so that their results would have one name. Give every image a name "
            "of its own, or call this function for each folder."
        )


def _embed(predictor: Predictor, path: str | os.PathLike[str], folder: str | os.PathLike[str] | None) -> Embeddings:
    save_path = None if folder is None else Path(folder) / f"{Path(path).stem}.zarr"
    if save_path is not None:
        save_path.parent.mkdir(parents=True, exist_ok=True)
    return precompute_image_embeddings(predictor, open_image(os.fspath(path)), save_path, ndim=2, verbose=False)


def _save(path: Path, objects: Sequence[ObjectMask], shape: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    by_score = sorted((one for one in objects if not one.is_empty), key=lambda one: -one.score)
    save_labels(path, paint_by_score(by_score, shape))
