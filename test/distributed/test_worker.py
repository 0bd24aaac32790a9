"""What a worker makes of a task, here without a cluster: answers, and why a worker cannot work."""

import platform
from types import SimpleNamespace

import pytest

from micro_sam.distributed import worker
from micro_sam.distributed.worker import ModelSource, UnfitWorker, perform, worker_predictor
from micro_sam.errors import InputError, ModelError


@pytest.fixture
def source(monkeypatch):
    """A model that has been loaded."""
    made = ModelSource("nano_lm", None, "cpu", "fp32")
    monkeypatch.setattr(worker, "_LOADED", {made: "the model"})
    return made


def failing(error):
    def task(_predictor, _task):
        raise error

    return task


def test_a_task_gets_the_model_of_the_process(source):
    answer = perform(lambda predictor, task: (predictor, task), source, 5)
    assert answer.value == ("the model", 5) and answer.error is None and answer.unfit is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("The image is empty."), "The image is empty."),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
        (KeyError(), "KeyError: KeyError"),
    ],
)
def test_an_error_is_one_line_of_the_answer(source, error, said):
    answer = perform(failing(error), source, 5)
    assert answer.error == said and answer.value is None and answer.unfit is None


def test_a_worker_whose_gpu_is_lost_leaves_its_task_to_others(source):
    answer = perform(failing(RuntimeError("CUDA error: device-side assert triggered\nmore")), source, 5)
    assert answer.error is None
    assert answer.unfit == f"The GPU of {platform.node()} fails: CUDA error: device-side assert triggered"


def test_a_worker_downloads_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "_LOADED", {})
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    without = ModelSource("vit_b", None, "cpu", "fp32", str(tmp_path))
    answer = perform(lambda *_: pytest.fail("there is no model"), without, 5)
    assert answer.unfit is not None and f"The weights of vit_b are not in {tmp_path}" in answer.unfit
    with pytest.raises(UnfitWorker, match="There is no file"):
        worker_predictor(ModelSource(None, str(tmp_path / "gone.pt"), "cpu", "fp32"))


def test_the_model_is_loaded_once(monkeypatch, tmp_path):
    monkeypatch.setattr(worker, "_LOADED", {})
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path))
    made = ModelSource.prepare("nano_lm", device="cpu", precision="fp32")
    assert worker_predictor(made) is worker_predictor(made)
    with pytest.raises(ModelError, match="There is no file"):
        ModelSource.prepare("nano_lm", str(tmp_path / "gone.pt"), "cpu", "fp32")


def test_workers_of_a_job_share_its_gpus_out_by_their_number(monkeypatch):
    import torch

    assert worker._own_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert worker._own_device(None) is None
    with pytest.raises(InputError, match="there is no GPU here"):
        worker._own_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(worker, "_worker", lambda: SimpleNamespace(name="SLURMCluster-0-6"))
    assert worker._own_device("cuda") == "cuda:2"
    monkeypatch.setattr(worker, "_worker", lambda: SimpleNamespace(name="lone"))
    assert worker._own_device(None) == "cuda:0"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert worker._own_device("cuda") == "cuda"
