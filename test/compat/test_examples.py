"""The examples of the repository: each calls a tool with arguments that it has, on a sample that is there."""

import inspect
import runpy
from pathlib import Path

import pytest

import micro_sam.sam_annotator as tools
from micro_sam.models.registry import get_spec
from micro_sam.sample_data import sample_names

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_starts_its_tool(path, monkeypatch):
    calls = []
    for name in ("annotator_2d", "annotator_3d", "annotator_tracking", "image_series_annotator"):
        signature = inspect.signature(getattr(tools, name))

        def record(*args, _signature=signature, **kwargs):
            calls.append(_signature.bind(*args, **kwargs).arguments)

        monkeypatch.setattr(tools, name, record)
    monkeypatch.setattr("sys.argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert len(calls) == 1
    images = calls[0].get("images") or [calls[0]["raw"]]
    assert {name.removeprefix("sample:") for name in images} <= set(sample_names())
    assert get_spec(calls[0]["model_type"]).shipped
