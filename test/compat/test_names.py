"""Every public name of micro-sam 1.8.14 is there, in the module in which scripts look for it."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from micro_sam.errors import InputError, ModelError

NAMES = {
    "automatic_segmentation": "automatic_instance_segmentation automatic_tracking get_predictor_and_segmenter",
    "bioimageio": "export_sam_model",
    "evaluation": (
        "default_experiment_settings full_experiment_settings get_experiment_setting_name "
        "precompute_all_embeddings precompute_all_prompts run_evaluation run_evaluation_for_iterative_prompting "
        "run_inference_with_iterative_prompting run_inference_with_prompts run_instance_segmentation_grid_search "
        "run_instance_segmentation_grid_search_and_inference run_instance_segmentation_inference"
    ),
    "evaluation.evaluation": "run_evaluation run_evaluation_for_iterative_prompting",
    "evaluation.inference": (
        "precompute_all_embeddings precompute_all_prompts run_amg run_apg run_inference_with_iterative_prompting "
        "run_inference_with_prompts run_instance_segmentation_with_decoder"
    ),
    "evaluation.instance_segmentation": (
        "default_grid_search_values_amg default_grid_search_values_apg "
        "default_grid_search_values_instance_segmentation_with_decoder evaluate_instance_segmentation_grid_search "
        "run_instance_segmentation_grid_search run_instance_segmentation_grid_search_and_inference "
        "run_instance_segmentation_inference save_grid_search_best_params"
    ),
    "evaluation.multi_dimensional_segmentation": (
        "default_grid_search_values_multi_dimensional_segmentation run_multi_dimensional_segmentation_grid_search "
        "segment_slices_from_ground_truth"
    ),
    "inference": "batched_inference batched_tiled_inference",
    "io": "check_image load_labels load_tracks open_image save_labels save_tracks",
    "instance_segmentation": (
        "AMGBase AutomaticMaskGenerator AutomaticPromptGenerator DecoderAdapter InstanceSegmentationWithDecoder "
        "TiledAutomaticMaskGenerator TiledAutomaticPromptGenerator TiledInstanceSegmentationWithDecoder "
        "get_decoder get_instance_segmentation_generator get_predictor_and_decoder get_unetr"
    ),
    "models.build_sam": "build_sam build_sam_vit_b build_sam_vit_h build_sam_vit_l",
    "models.peft_sam": (
        "AdaptFormer AttentionLoRA AttentionSurgery BiasSurgery ClassicalSurgery FacTSurgery LayerNormSurgery "
        "LoRASurgery MLPLoRA PEFT_Sam SSFSurgery ScaleShiftLayer SelectiveSurgery"
    ),
    "models.sam_3d_wrapper": "Sam3DWrapper get_sam_3d_model",
    "models.simple_sam_3d_wrapper": "SimpleSam3DWrapper get_simple_sam_3d_model",
    "multi_dimensional_segmentation": (
        "PROJECTION_MODES automatic_3d_segmentation automatic_tracking automatic_tracking_implementation "
        "get_napari_track_data merge_instance_segmentation_3d segment_mask_in_volume track_across_frames"
    ),
    "object_classification": (
        "compute_object_features project_prediction_to_segmentation run_prediction_with_object_classifier"
    ),
    "precompute_state": "cache_amg_state cache_is_state precompute_state",
    "prompt_based_segmentation": ("segment_from_box segment_from_box_and_points segment_from_mask segment_from_points"),
    "prompt_generators": "IterativePromptGenerator PointAndBoxPromptGenerator PromptGeneratorBase",
    "sam_annotator": (
        "Annotator2d Annotator3d AnnotatorTracking annotator_2d annotator_3d annotator_tracking "
        "image_folder_annotator image_series_annotator"
    ),
    "sam_annotator.annotator_2d": "Annotator2d annotator_2d",
    "sam_annotator.annotator_3d": "Annotator3d annotator_3d",
    "sam_annotator.annotator_tracking": "AnnotatorTracking annotator_tracking",
    "sam_annotator.image_series_annotator": "image_folder_annotator image_series_annotator",
    "sam_annotator.object_classifier": "ObjectClassifier image_series_object_classifier object_classifier",
    "sam_annotator.util": (
        "clear_annotations clear_annotations_slice point_layer_to_prompts prompt_layer_to_state "
        "prompt_layers_to_state prompt_segmentation segment_slices_with_prompts shape_layer_to_prompts "
        "toggle_label track_from_prompts"
    ),
    "sample_data": (
        "fetch_3d_example_data fetch_hela_2d_example_data fetch_image_series_example_data "
        "fetch_livecell_example_data fetch_nucleus_3d_example_data fetch_tracking_example_data "
        "fetch_tracking_segmentation_data fetch_wholeslide_example_data "
        "fetch_wholeslide_histopathology_example_data sample_data_3d sample_data_hela_2d sample_data_image_series "
        "sample_data_livecell sample_data_segmentation sample_data_tracking sample_data_wholeslide synthetic_data"
    ),
    "training": (
        "ConvertToSamInputs JointSamLogger JointSamTrainer MedSAMTrainer SamLogger SamTrainer "
        "SemanticMapsSamTrainer SemanticSamTrainer SimpleSamTrainer default_sam_dataset default_sam_loader "
        "export_instance_segmentation_model get_trainable_sam_model identity train_instance_segmentation "
        "train_sam train_sam_for_configuration"
    ),
    "training.training": (
        "default_sam_dataset default_sam_loader export_instance_segmentation_model train_instance_segmentation "
        "train_sam train_sam_for_configuration"
    ),
    "training.util": (
        "ConvertToSamInputs ConvertToSemanticSamInputs ResizeLabelTrafo ResizeRawTrafo get_raw_transform "
        "get_trainable_sam_model identity normalize_to_8bit require_8bit"
    ),
    "util": (
        "ImageEmbeddings SamPredictor VIT_T_SUPPORT apply_nms compute_iou export_custom_qlora_model "
        "export_custom_sam_model get_block_shape get_cache_directory get_cell_center_coordinates "
        "get_centers_and_bounding_boxes get_device get_model_names get_sam_model handle_pbar load_image_data "
        "mask_data_to_segmentation micro_sam_info microsam_cachedir models precompute_image_embeddings "
        "segmentation_to_one_hot set_precomputed"
    ),
    "visualization": "compute_pca project_embeddings_for_visualization",
}
# Names that do not do what they did; called, they say what to use instead.
REFUSED = {
    "object_classification": None,
    "sam_annotator.object_classifier": None,
    "evaluation.instance_segmentation": None,
    "evaluation.multi_dimensional_segmentation": None,
    "models.build_sam": None,
    "models.sam_3d_wrapper": None,
    "models.simple_sam_3d_wrapper": None,
    "models.peft_sam": "FacTSurgery SSFSurgery AdaptFormer ScaleShiftLayer",
    "training.util": None,
    "training": "SamTrainer get_trainable_sam_model identity",
    "evaluation": "precompute_all_prompts default_experiment_settings run_instance_segmentation_grid_search",
    "evaluation.inference": "run_amg run_apg run_instance_segmentation_with_decoder precompute_all_prompts",
    "sam_annotator.util": (
        "clear_annotations_slice prompt_layer_to_state prompt_layers_to_state prompt_segmentation "
        "segment_slices_with_prompts track_from_prompts"
    ),
    "util": "export_custom_qlora_model",
}


@pytest.mark.parametrize("module", NAMES)
def test_every_name_is_there(module):
    found = import_module(f"micro_sam.{module}")
    assert not [name for name in NAMES[module].split() if not hasattr(found, name)]


@pytest.mark.parametrize("module", REFUSED)
def test_what_is_out_of_scope_says_what_to_use(module):
    found = import_module(f"micro_sam.{module}")
    for name in (REFUSED[module] or NAMES[module]).split():
        with pytest.raises((InputError, ModelError), match="not (supported|built).*(Use|Take|Segment|[Tt]rain)"):
            getattr(found, name)(1, rank=2)


def test_a_front_door_is_not_shadowed_by_the_module_of_the_same_name():
    import micro_sam.sam_annotator as tools

    for name in ("annotator_2d", "annotator_3d", "annotator_tracking", "image_series_annotator"):
        import_module(f"micro_sam.sam_annotator.{name}")
        assert inspect.isfunction(getattr(tools, name)), name


def test_the_rooms_below_do_not_know_the_front_doors():
    package = Path(__file__).parents[2] / "micro_sam"
    for room in ("segmentation", "embeddings", "models", "io", "session"):
        for path in (package / room).rglob("*.py"):
            assert "micro_sam.compat" not in path.read_text(), path
