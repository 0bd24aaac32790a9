"""What a person gains from training, on images that were not learned from. Minutes on a CPU."""

from pathlib import Path

import pytest

from micro_sam.training import DataSource, TrainConfig, Trainer

pytestmark = pytest.mark.slow


def train(config: TrainConfig) -> tuple[dict[str, float], dict[str, float]]:
    """Figures before the training, and of the weights that were kept."""
    trainer = Trainer(config)
    validations = [p.validation for p in trainer.run() if p.validation is not None]
    return validations[0], max(validations[1:], key=lambda v: v["click"] + v["box"] + v["corrected"])


def test_five_images_of_one_s_own_beat_the_shipped_model(shared_data: Path, tmp_path: Path):
    def frames(which: str) -> DataSource:
        folder = shared_data / "phase_c2c12" / "train"
        name = f"c2c12_t0{which}.tif"
        return DataSource((str(folder / "images" / name),), (str(folder / "masks" / name),))

    before, after = train(
        TrainConfig(
            train=(frames("[0-4]"),),
            validation=(frames("[5-9]"),),
            output=str(tmp_path / "mine.safetensors"),
            steps=60,
            batch_size=4,
            objects=12,
            validate_every=30,
            validation_objects=6,
            device="cpu",
        )
    )
    assert after["click"] > before["click"] + 0.03
    assert after["box"] > before["box"] + 0.05
    assert after["corrected"] > before["corrected"] + 0.03
