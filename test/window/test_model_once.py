"""The model is loaded from disc once, however often images, caches or tiles change."""

from micro_sam.sam_annotator.controller.embedding import engine

from . import driver


def test_the_model_is_loaded_once(opened, coins, monkeypatch, tmp_path):
    from micro_sam.sam_annotator import annotator_2d
    from micro_sam.sam_annotator.state.images import from_array

    loaded, load = [], engine.load_model
    monkeypatch.setattr(engine, "load_model", lambda settings: loaded.append(settings) or load(settings))
    tool = opened(annotator_2d, coins, model_type="nano_lm")
    assert driver.wait_until(lambda: tool.engine.embeddings is not None and not tool.engine.busy)
    predictor = tool.engine.predictor
    tool.actions.prepare()  # "compute embeddings" once more
    driver.wait_idle(tool)
    tool.actions.change_settings(tool.state.settings.changed(embedding_path=tmp_path / "cache.zarr"))
    driver.wait_idle(tool)
    tool.open(from_array(coins[:200], "2d", "part"))
    driver.wait_idle(tool)
    assert len(loaded) == 1 and tool.engine.predictor is predictor
    tool.saving.unsaved = False
