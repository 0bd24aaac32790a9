"""What is known of a trained model: as metadata in its file and as a card for readers beside it."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from micro_sam import __version__
from micro_sam.io.marks import mark
from micro_sam.training.config import TrainConfig
from micro_sam.training.crops import TrainingImage
from micro_sam.training.validation import score

FEW = 4  # paths of a source that a card lists one by one


def describe(
    config: TrainConfig,
    images: Sequence[TrainingImage],
    validation_images: Sequence[TrainingImage],
    history: Sequence[Mapping[str, float]],
) -> dict[str, Any]:
    """Settings, data, figures and versions, as values that JSON knows."""
    trained = [row for row in history if row["step"] > 0]
    best = max(trained, key=score) if trained else {}
    settings = _without_places(config.to_dict())
    return {
        "name": config.name or Path(config.output).stem,
        "started_from": "random weights" if config.from_scratch else settings["checkpoint"] or config.model,
        "settings": settings,
        "training_data": _count(images),
        "validation_data": _count(validation_images),
        "figures_before": dict(history[0]) if history and history[0]["step"] == 0 else {},
        "figures": dict(best),
        "versions": {
            "micro_sam": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def make_card(weights: Path, known: Mapping[str, Any]) -> str:
    """The model card of a weight file, as Markdown."""
    settings = known["settings"]
    verb = "Trained" if settings["from_scratch"] else "Fine-tuned"
    lines = [
        f"# {known['name']}",
        "",
        f"<!-- {mark('weights')} -->",
        "",
        f"{verb} from {known['started_from']} ({settings['trainable']}), with micro_sam {__version__}. Use it with "
        f"`-c {weights.name}` in every tool.",
        "",
        "## Data",
        "",
        "| set | training images (objects) | validation images (objects) |",
        "|---|---|---|",
    ]
    train, held_back = known["training_data"], known["validation_data"]
    for group in {**train, **held_back}:
        lines.append(f"| {group} | {_cell(train.get(group))} | {_cell(held_back.get(group))} |")
    lines += ["", *_sources("Learned from", settings["train"]), *_sources("Measured on", settings["validation"])]
    lines += ["", *settings["licences"]] if settings["licences"] else []
    lines += [
        "",
        "## Figures on the validation images",
        "",
        "Mean IoU; automatic: mean SA50 of the automatic segmentation.",
        "",
        "| prompt | before | after |",
        "|---|---|---|",
    ]
    for name, value in known["figures"].items():
        if name != "step":
            before = known["figures_before"].get(name)
            lines.append(f"| {name} | {'' if before is None else f'{before:.3f}'} | {value:.3f} |")
    lines += [
        "",
        "A click is one positive point at the innermost pixel; corrected: after two more clicks on the largest error. "
        "Objects are the same before and after. These images were not learned from, but chose which step's weights are "
        "kept, and images of the same kind were learned from: on other images the figures are lower.",
        "",
        "## Settings",
        "",
    ]
    skipped = ("train", "validation", "licences")
    lines += [f"- {name}: {value}" for name, value in settings.items() if name not in skipped]
    lines += [f"- {name} {version}" for name, version in known["versions"].items()]
    return "\n".join(lines) + "\n"


def _without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without the folders of this machine: weights are shared, and paths tell names of people and projects."""
    sources = [*settings["train"], *settings["validation"]]
    paths = [Path(p) for source in sources for p in (*source["images"], *source["labels"])]
    try:
        base = Path(os.path.commonpath([path.parent for path in paths if path.is_absolute()]))
    except ValueError:  # no such path, or several drives
        base = Path()

    def below(texts: Sequence[str]) -> list[str]:
        return [_below(Path(text), base) if Path(text).is_absolute() else text for text in texts]

    def shared(source: Mapping[str, Any]) -> dict[str, Any]:
        return {**source, "images": below(source["images"]), "labels": below(source["labels"])}

    files = {key: settings[key] and Path(settings[key]).name for key in ("checkpoint", "output")}
    groups = {key: [shared(source) for source in settings[key]] for key in ("train", "validation")}
    return {**settings, **files, **groups}


def _below(path: Path, base: Path) -> str:
    """A path from the folder of all sources; its last two parts where that is as good as the whole disc."""
    is_a_folder_of_the_user = len(base.parts) > 2  # / and /home, C: and Users are not
    return (path.relative_to(base) if is_a_folder_of_the_user else Path(*path.parts[-2:])).as_posix()


def _sources(what: str, sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per source of images: its files, from the folder that holds all sources."""
    lines = []
    for source in sources:
        labels = _listed(source["labels"]) or "what was saved beside them"
        incomplete = "" if source["complete"] else " (not all objects labelled)"
        lines.append(f"- {what} {_listed(source['images'])}, labels: {labels}{incomplete}")
    return lines


def _listed(paths: Sequence[str]) -> str:
    """A few paths; of more, the first and the last: the metadata of the weights have them all."""
    if len(paths) <= FEW:
        return ", ".join(paths)
    return f"{paths[0]} ... {paths[-1]} ({len(paths)} in all)"


def _count(images: Sequence[TrainingImage]) -> dict[str, list[int]]:
    """Images and objects per group."""
    numbers = Counter(i.group for i in images)
    objects: Counter[str] = Counter()
    for image in images:
        objects[image.group] += len(image.ids)
    return {group: [numbers[group], objects[group]] for group in numbers}


def _cell(counts: list[int] | None) -> str:
    return "" if counts is None else f"{counts[0]} ({counts[1]})"
