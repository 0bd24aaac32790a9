"""Training runs: what comes out, and that an interruption changes nothing."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from micro_sam.cli import train
from micro_sam.errors import InputError
from micro_sam.models.build import get_sam_model
from micro_sam.training import DataSource, TrainConfig, Trainer, train_sam
from micro_sam.training.card import _sources as card_sources
from micro_sam.training.schedule import is_out_of_memory, learning_rate, with_rate


def tiny_config(tiny_set: tuple[Path, Path], output: Path, **changes) -> TrainConfig:
    images, labels = tiny_set
    settings = {
        "train": (DataSource((str(images),), (str(labels),)),),
        "output": str(output),
        "steps": 4,
        "batch_size": 2,
        "objects": 4,
        "crop": 128,
        "validate_every": 2,
        "validation_objects": 2,
        "device": "cpu",
        "save_every": 0.0,
    }
    return TrainConfig(**settings | changes)


def tiny_set_folder(tiny_set) -> Path:
    """The folder of all its images and labels."""
    return Path(os.path.commonpath([Path(path).parent for path in tiny_set]))


def test_result_opens_in_every_tool_and_has_a_card(tiny_set, tmp_path):
    output = tmp_path / "mine.safetensors"
    steps = list(Trainer(tiny_config(tiny_set, output)).run())
    assert [p.step for p in steps] == [0, 1, 2, 3, 4]
    assert steps[0].validation is not None and steps[2].validation is not None
    assert 0 <= steps[-1].validation["click"] <= 1
    predictor = get_sam_model(checkpoint_path=output, model_type=None, device="cpu")
    assert predictor.model_name == "mine"
    features = predictor.encode(np.zeros((64, 80, 3), np.uint8))
    assert features.dense is not None
    card = (tmp_path / "mine.md").read_text()
    assert "# mine" in card and "| click |" in card and "seed: 0" in card
    images, labels = (Path(path).relative_to(tiny_set_folder(tiny_set)).as_posix() for path in tiny_set)
    assert f"- Learned from {images}, labels: {labels}" in card and "-c mine.safetensors" in card
    # Weights are shared: neither the card nor the file tells the folders of this machine.
    with safe_open(output, "pt") as file:
        assert str(tmp_path) not in card + json.dumps(file.metadata())
        assert str(tiny_set_folder(tiny_set)) not in card + json.dumps(file.metadata())
    assert "validation click" in (tmp_path / "mine.log.csv").read_text()
    assert not (tmp_path / "mine.state.pt").exists()


def test_a_card_names_the_first_and_the_last_of_many_files():
    few, many = ([f"images/{k:03}.tif" for k in range(n)] for n in (2, 76))
    source = {"images": many, "labels": few, "complete": True}
    (line,) = card_sources("Learned from", [source])
    assert line == (
        "- Learned from images/000.tif ... images/075.tif (76 in all), labels: images/000.tif, images/001.tif"
    )


def test_interrupted_run_ends_with_the_same_weights(tiny_set, tmp_path):
    whole = list(Trainer(tiny_config(tiny_set, tmp_path / "whole.safetensors")).run())
    run = Trainer(tiny_config(tiny_set, tmp_path / "parts.safetensors")).run()
    for progress in run:
        if progress.step == 3:
            run.close()
            break
    rest = list(Trainer(tiny_config(tiny_set, tmp_path / "parts.safetensors")).run())
    assert [p.step for p in rest] == [4]
    assert rest[-1].loss == whole[-1].loss and rest[-1].validation == whole[-1].validation
    a, b = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    logs = [(tmp_path / f"{name}.log.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_killed_run_ends_with_the_same_weights(tiny_set, tmp_path):
    images, labels = tiny_set
    common = ["-i", images, "-l", labels, "-m", "nano_lm", "--steps", "4", "--batch_size", "2", "--objects", "4"]
    common += ["--validate_every", "2", "-d", "cpu"]

    def options(name: str) -> list[str]:
        return [*map(str, common), "-o", str(tmp_path / name)]

    # what is killed is a process of its own; who runs undisturbed needs none, but as many threads
    command = [sys.executable, "-m", "micro_sam.cli.train", *options("parts.safetensors")]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert train.main(options("whole.safetensors")) == 0
    state = tmp_path / "parts.state.pt"
    process = subprocess.Popen(command, env=one_thread, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert state.exists() and not (tmp_path / "parts.safetensors").exists()
    assert train.main(options("parts.safetensors")) == 0
    a, b = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    logs = [(tmp_path / f"{name}.log.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1] and "4,validation corrected," in logs[0]
    cards = [(tmp_path / f"{name}.md").read_text().replace(name, "mine") for name in ("whole", "parts")]
    assert cards[0] == cards[1] and "| click |" in cards[0]


def test_crops_that_are_drawn_ahead_are_the_same(tiny_set, tmp_path):
    weights = []
    for workers in (0, 2):
        output = tmp_path / f"{workers}.safetensors"
        list(Trainer(tiny_config(tiny_set, output, steps=2, crop=(128, 64), workers=workers)).run())
        weights.append(load_file(output))
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_an_image_that_is_named_twice_is_packed_once(tiny_set, tmp_path):
    (one,) = tiny_config(tiny_set, tmp_path / "a.safetensors").train
    twice = tuple(one.model_copy(update={"group": group}) for group in ("first", "second"))
    config = tiny_config(tiny_set, tmp_path / "a.safetensors", packed=str(tmp_path / "all.h5"), train=twice)
    training, again = Trainer(config), Trainer(config)
    assert again._settings() == training._settings()
    assert {image.group for image in again.images} == {"first", "second"}
    with h5py.File(config.packed) as file:
        images = [group["image"] for part in file.values() for group in part.values()]
        places = {h5py.h5o.get_info(image.id).addr for image in images}
    assert len(places) <= len(images) - len(again.images) // 2 + 1


def test_packed_images_give_the_same_run_without_the_folders(tiny_set, tmp_path):
    packed, copies = tmp_path / "all.h5", tmp_path / "copies"
    shutil.copytree(tiny_set_folder(tiny_set), copies)
    sources = tuple(copies / path.relative_to(tiny_set_folder(tiny_set)) for path in map(Path, tiny_set))
    first = Trainer(tiny_config(sources, tmp_path / "a.safetensors", packed=str(packed)))
    size = sum(path.stat().st_size for path in copies.rglob("*") if path.is_file())
    shutil.rmtree(copies)
    again = Trainer(tiny_config(sources, tmp_path / "b.safetensors", packed=str(packed)))
    assert packed.stat().st_size < size and again._settings() == first._settings()
    assert again._settings() == Trainer(tiny_config(tiny_set, tmp_path / "c.safetensors"))._settings()
    other = DataSource(("elsewhere",), ("elsewhere",), group="axons")
    with pytest.raises(InputError, match="other sources .images instead of axons"):
        Trainer(tiny_config(sources, tmp_path / "d.safetensors", packed=str(packed), train=(other,)))
    packed.write_bytes(packed.read_bytes()[:3000])
    with pytest.raises(InputError, match="cannot be read"):
        Trainer(tiny_config(sources, tmp_path / "d.safetensors", packed=str(packed)))


def test_mixed_precision_learns_as_exact_arithmetic_does(tiny_set, tmp_path, monkeypatch):
    """What a GPU runs: autocast, and with fp16 a scaler, which leaves out steps whose gradients overflow."""
    scales = []

    class Scaler(torch.amp.GradScaler):
        def __init__(self, device: str, enabled: bool) -> None:
            super().__init__("cpu", enabled=enabled, init_scale=2.0**10)

        def update(self, new_scale=None) -> None:
            super().update(new_scale)
            scales.append(self.get_scale())

    monkeypatch.setattr(torch.amp, "GradScaler", Scaler)
    monkeypatch.setattr("micro_sam.training.trainer.resolve_precision", lambda wanted, device: wanted)
    losses, moved = {}, {}
    for wanted in ("fp32", "bf16", "fp16"):
        output = tmp_path / f"{wanted}.safetensors"
        trainer = Trainer(tiny_config(tiny_set, output, precision=wanted, steps=1, batch_size=4, crop=64, objects=2))
        monkeypatch.setattr(trainer, "_validate", lambda weights: {"click": 0.5, "box": 0.5, "corrected": 0.5})
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        losses[wanted] = [step.loss for step in trainer.run() if step.step]
        moved[wanted] = sum(
            (value - before[name]).abs().sum().item() for name, value in trainer.model.state_dict().items()
        )
        assert all(value.dtype == torch.float32 for value in trainer.model.parameters())
    assert len(scales) == 1, "the scaler works with fp16 only"
    for precision in ("bf16", "fp16"):
        assert losses[precision] == pytest.approx(losses["fp32"], rel=0.05)
        assert moved[precision] == pytest.approx(moved["fp32"], rel=0.2)


def test_other_settings_do_not_continue_a_run(tiny_set, tmp_path):
    output = tmp_path / "mine.safetensors"
    run = Trainer(tiny_config(tiny_set, output)).run()
    for progress in run:
        if progress.step == 1:
            run.close()
            break
    with pytest.raises(InputError, match="seed: 0 then, 1 now"):
        Trainer(tiny_config(tiny_set, output, seed=1))
    Trainer(tiny_config(tiny_set, output, seed=1), overwrite=True)


def test_damaged_state_is_said_in_a_sentence(tiny_set, tmp_path):
    (tmp_path / "mine.state.pt").write_bytes(b"\x80\x02no state")
    with pytest.raises(InputError, match="cannot be read"):
        Trainer(tiny_config(tiny_set, tmp_path / "mine.safetensors"))


def test_existing_result_is_not_overwritten(tiny_set, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        Trainer(tiny_config(tiny_set, tmp_path / "mine.safetensors"))


def test_decoder_training_leaves_the_encoder_alone(tiny_set, tmp_path):
    output = tmp_path / "mine.safetensors"
    list(Trainer(tiny_config(tiny_set, output, trainable="decoder", steps=2)).run())
    before, after = load_file(Path(get_sam_model_path())), load_file(output)
    moved = {name for name in after if not torch.equal(after[name], before[name].half())}
    assert moved and not any(name.startswith("image_encoder.") for name in moved)


def test_pool_of_crops_is_encoded_once(tiny_set, tmp_path, monkeypatch):
    from micro_sam.training import windows

    encode, seen = windows.encode_windows, []
    monkeypatch.setattr(windows, "encode_windows", lambda *a: seen.append(len(a[1])) or encode(*a))
    config = tiny_config(tiny_set, tmp_path / "mine.safetensors", trainable="decoder", pool=3, steps=6)
    losses = [p.loss for p in Trainer(config).run()][1:]
    assert len(seen) <= 3 and len(set(losses)) == 6


def test_adapters_move_linear_layers_of_the_encoder_and_are_merged(tiny_set, tmp_path):
    output = tmp_path / "mine.safetensors"
    list(Trainer(tiny_config(tiny_set, output, trainable="lora", steps=2, learning_rate=1e-2)).run())
    before, after = load_file(Path(get_sam_model_path())), load_file(output)
    assert before.keys() == after.keys()
    moved = {name for name in after if name.startswith("image_encoder.") and not torch.equal(after[name], before[name])}
    assert "image_encoder.s3.1.qkv.weight" in moved
    assert not any(".stem." in name for name in moved)


def test_transformers_train_on_whole_frames(tiny_set, tmp_path):
    output = tmp_path / "mine.safetensors"
    changes = {"model": "vit_t", "from_scratch": True, "trainable": "lora", "steps": 1, "batch_size": 1, "objects": 2}
    steps = list(Trainer(tiny_config(tiny_set, output, validation_objects=1, **changes)).run())
    assert np.isfinite(steps[-1].loss)
    assert get_sam_model(checkpoint_path=output, model_type=None, device="cpu").model_type == "vit_t"
    assert "Trained from random weights" in output.with_suffix(".md").read_text()


def test_memory_shortage_halves_the_pass_and_keeps_the_crops(tiny_set, tmp_path, monkeypatch):
    from micro_sam.training import objective

    plain, sizes = objective.Objective.__call__, []

    def short_of_memory(self, rng, batch, keys):
        sizes.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return plain(self, rng, batch, keys)

    monkeypatch.setattr(objective.Objective, "__call__", short_of_memory)
    trainer = Trainer(tiny_config(tiny_set, tmp_path / "mine.safetensors", steps=1))
    assert len(list(trainer.run())) == 2
    assert sizes == [2, 1, 1] and trainer.state.chunk == 1


def test_training_stops_early_without_improvement(tiny_set, tmp_path, monkeypatch):
    from micro_sam.training import trainer

    values = iter([0.5, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5])
    monkeypatch.setattr(trainer, "measure", lambda *_: dict.fromkeys(("click", "box", "corrected"), next(values)))
    config = tiny_config(tiny_set, tmp_path / "mine.safetensors", steps=20, validate_every=1, patience=2)
    assert [p.step for p in Trainer(config).run()][-1] == 4


def test_one_call_trains(tiny_set, tmp_path):
    seen = []
    path = train_sam(
        *tiny_set,
        tmp_path / "mine.safetensors",
        progress=seen.append,
        steps=1,
        batch_size=1,
        objects=2,
        validation_objects=1,
        device="cpu",
    )
    assert path.exists() and seen[-1].step == 1


def test_learning_rate_rises_and_falls():
    config = TrainConfig(steps=100, warmup=10, learning_rate=1e-3)
    rates = [learning_rate(step, step / 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(1e-4) and max(rates) > 0.97e-3 and rates[-1] == pytest.approx(2e-5, rel=0.1)


def test_a_training_of_some_minutes_ends_in_time(tiny_set, tmp_path, monkeypatch):
    """The rate falls by the clock, and a run that was interrupted takes only what is left of its time."""
    from micro_sam.training import trainer

    rates, now = [], iter(range(0, 10_000, 10))  # each look at the clock is ten seconds later
    plain = trainer.learning_rate
    monkeypatch.setattr(trainer, "learning_rate", lambda *a: rates.append(plain(*a)) or rates[-1])
    config = tiny_config(tiny_set, tmp_path / "mine.safetensors", steps=1000, minutes=1.0, warmup=0, save_every=1e9)
    training = Trainer(config)
    monkeypatch.setattr(training, "_validate", lambda _: {"click": 0.5})
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(now)))
    run = training.run()
    steps = [next(run).step for _ in range(3)]
    run.close()
    assert steps == [0, 1, 2] and training.state.seconds == 20
    again = Trainer(config)
    monkeypatch.setattr(again, "_validate", lambda _: {"click": 0.5})
    assert [progress.step for progress in again.run()] == [3, 4, 5, 6]
    assert len(rates) == 6 and rates == sorted(rates, reverse=True) and rates[-1] < 0.1 * rates[0]
    assert (tmp_path / "mine.safetensors").exists()
    with pytest.raises(InputError, match="minutes"):
        TrainConfig(minutes=-1)


def test_a_rate_that_is_not_given_suits_the_architecture():
    assert with_rate(TrainConfig(), "nano").learning_rate == 5e-4
    assert with_rate(TrainConfig(), "vit_b").learning_rate == 5e-5
    assert with_rate(TrainConfig(learning_rate=1e-3), "vit_b").learning_rate == 1e-3


def test_memory_errors_are_told_from_others():
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def get_sam_model_path() -> Path:
    from micro_sam.models.cache import find_local
    from micro_sam.models.registry import get_spec

    return find_local(get_spec("nano_lm"))
