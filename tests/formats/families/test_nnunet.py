"""nnU-Net: every network of its library, and what its plans and dataset say."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.formats.recorded import (
    drawn_input,
    drawn_weights,
    recording,
    relative_error,
)  # fmt: skip

from napari_unet.engine.builder import Misfit
from napari_unet.errors import CheckpointError
from napari_unet.formats.families import nnunet
from napari_unet.formats.reading import Contents
from napari_unet.formats.safe_pickle import load_pickle
from napari_unet.formats.weights import understood
from napari_unet.formats.wrappers import unwrap

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import ModelSpec

TOLERANCE = 1e-5
WITH_PLANS = (
    "plain_2d", "plain_2d_batch_relu_dropout", "plain_2d_strides", "plain_3d",
    "plain_2d_activation_first", "plain_2d_activation_first_dropout",
    "plain_2d_slopes", "plain_2d_no_norm_gelu", "plain_2d_instance_without_weights",
    "plain_2d_slope_of_a_tenth", "residual_2d", "residual_2d_slopes_batch",
    "residual_2d_equal_widths", "residual_2d_bottleneck", "residual_3d",
    "residual_2d_throughout", "residual_2d_excited",
)  # fmt: skip
WITHOUT_PLANS = {
    "plain_2d": "", "plain_2d_strides": "", "plain_3d": "", "residual_2d": "",
    "residual_3d": "", "residual_2d_bottleneck": "", "residual_2d_equal_widths": "",
    "residual_2d_throughout": "", "residual_2d_excited": "", "plain_2d_slopes": "",
    "plain_2d_activation_first": "LeakyReLU, activation before norm",
    "plain_2d_activation_first_dropout": "",
}  # fmt: skip
DATASET = {
    "labels": {"background": 0, "nucleus": 1, "border": 2},
    "channel_names": {"0": "DAPI"},
}


def weights_of(facts: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return what loading left in the maker's network: equal under all names."""
    drawn = drawn_weights(facts["shapes"])
    return {key: drawn[facts["same"][key]] for key in drawn}


def plans_of(facts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return plans as nnU-Net writes them, ``more`` of the configuration "test"."""
    dims = len(facts["size"]) - 1
    options = {
        "patch_size": [32] * dims,
        "spacing": [1.0] * dims,
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {
            "network_class_name": facts["network_class_name"],
            "arch_kwargs": facts["arch_kwargs"],
        },
    }
    return {
        "dataset_name": "Dataset001_Test",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "Tiff3DIO",
        "transpose_forward": list(range(3)),
        "configurations": {"test": {**options, **more}},
    }


def model_of(
    weights: dict[str, torch.Tensor], wanted: str = "", **beside: Any
) -> Model:
    contents = Contents("a file", "checkpoint_final", weights, beside)
    return understood([contents], wanted)


def spec_of(plans: dict[str, Any] | None, dataset: dict[str, Any] | None) -> ModelSpec:
    """Return what is known of the smallest network with such files beside it."""
    facts, _ = recording("nnunet_plain_2d")
    beside = {"plans": plans, "dataset_json": dataset, "configuration": "test"}
    reading = nnunet.read(Contents("a file", "a title", weights_of(facts), beside))
    assert reading is not None
    return reading.spec


def usual_plans(**more: Any) -> dict[str, Any]:
    return plans_of(recording("nnunet_plain_2d")[0], **more)


@torch.no_grad()
def error_of(model: Model, facts: dict[str, Any], expected: np.ndarray) -> float:
    return relative_error(model.network(drawn_input((1, *facts["size"]))), expected)


@pytest.mark.parametrize("name", WITH_PLANS)
def test_with_plans_the_maker_s_output_is_reproduced(name: str) -> None:
    facts, expected = recording(f"nnunet_{name}")
    init = {"plans": plans_of(facts), "configuration": "test", "dataset_json": DATASET}
    model = model_of(weights_of(facts), init_args=init)
    assert error_of(model, facts, expected) < TOLERANCE
    architecture = model.spec.architecture
    assert architecture.family == facts["family"]
    assert list(architecture.widths) == facts["arch_kwargs"]["features_per_stage"]
    assert architecture.in_channels == facts["size"][0]
    assert model.spec.sources["architecture"] == "read"
    assert model.spec.readings == ()


@pytest.mark.parametrize("name", WITHOUT_PLANS)
def test_from_the_shapes_alone_the_output_is_reproduced(name: str) -> None:
    facts, expected = recording(f"nnunet_{name}")
    model = model_of(weights_of(facts), WITHOUT_PLANS[name])
    assert error_of(model, facts, expected) < TOLERANCE
    assert model.spec.sources["architecture"] == "inferred"
    assert WITHOUT_PLANS[name] in ("", model.spec.reading)


def test_what_the_shapes_leave_open_is_listed() -> None:
    facts, _ = recording("nnunet_plain_2d_activation_first")
    spec = model_of(weights_of(facts)).spec
    assert len(spec.readings) == 4
    assert spec.reading == "LeakyReLU, norm before activation"
    assert "LeakyReLU, activation before norm" in spec.readings


@pytest.mark.parametrize("kept", ["all_modules", "decoder.encoder", "conv."])
def test_any_one_name_of_a_weight_is_enough(kept: str) -> None:
    facts, expected = recording("nnunet_plain_2d")
    by_tensor: dict[str, str] = {}
    for key in facts["shapes"]:
        same = facts["same"][key]
        if same not in by_tensor or kept in key:
            by_tensor[same] = key
    weights = weights_of(facts)
    model = model_of({key: weights[key] for key in by_tensor.values()})
    assert error_of(model, facts, expected) < TOLERANCE


def test_two_names_of_a_weight_may_not_differ() -> None:
    facts, _ = recording("nnunet_plain_2d")
    weights = weights_of(facts)
    key = "decoder.encoder.stages.1.0.convs.0.conv.weight"
    weights[key] = weights[key] + 1
    with pytest.raises(CheckpointError, match="differs from encoder"):
        model_of(weights)


@pytest.mark.parametrize("end", ["decoder.transpconvs.0.weight", "convs.1.conv.weight"])
def test_a_missing_weight_is_named(end: str) -> None:
    facts, _ = recording("nnunet_plain_2d")
    weights = weights_of(facts)
    places = {facts["same"][key] for key in weights if key.endswith(end)}
    left = {k: v for k, v in weights.items() if facts["same"][k] not in places}
    with pytest.raises(CheckpointError, match=r"is not there|channels"):
        model_of(left)


def test_a_surplus_weight_is_named() -> None:
    facts, _ = recording("nnunet_plain_2d")
    weights = {**weights_of(facts), "decoder.stages.9.gate.weight": torch.ones(3)}
    with pytest.raises(CheckpointError, match="surplus weight decoder"):
        model_of(weights)


def test_an_empty_weight_is_named() -> None:
    facts, _ = recording("nnunet_plain_2d")
    weights = weights_of(facts)
    weights["decoder.seg_layers.1.weight"] = torch.ones(3, 8, 0, 0)
    with pytest.raises(CheckpointError, match=r"seg_layers\.1\.weight is empty"):
        model_of(weights)


def test_other_networks_are_not_its_own() -> None:
    assert nnunet.read(Contents("f", "t", {"head.weight": torch.ones(1)})) is None


def test_plans_of_the_first_versions_are_read() -> None:
    facts, expected = recording("nnunet_plain_2d")
    plans = usual_plans(
        UNet_class_name="PlainConvUNet",
        UNet_base_num_features=8,
        conv_kernel_sizes=[[3, 3]] * 3,
        pool_op_kernel_sizes=[[1, 1], [2, 2], [2, 2]],
        n_conv_per_stage_encoder=[2, 2, 2],
    )
    del plans["configurations"]["test"]["architecture"]
    model = model_of(weights_of(facts), plans=plans, configuration="test")
    assert model.spec.sources["architecture"] == "read"
    assert error_of(model, facts, expected) < TOLERANCE


def test_a_configuration_inherits() -> None:
    plans = usual_plans(spacing=[0.5, 0.25])
    plans["configurations"]["more"] = {"inherits_from": "test", "patch_size": [8, 8]}
    facts, _ = recording("nnunet_plain_2d")
    spec = model_of(weights_of(facts), plans=plans, configuration="more").spec
    assert spec.pixel_size == (0.5, 0.25)
    assert spec.provenance["configuration"] == "more"
    assert "it was trained on patches of 8 x 8 pixels" in spec.remarks


def test_a_circle_of_configurations_ends() -> None:
    plans = usual_plans(inherits_from="test")
    assert spec_of(plans, None).sources["architecture"] == "read"


def test_without_a_name_the_configuration_of_as_many_axes_is_taken() -> None:
    plans = usual_plans()
    known = plans["configurations"]
    plans["configurations"] = {"3d": {"patch_size": [8, 8, 8]}, "2d": known["test"]}
    facts, _ = recording("nnunet_plain_2d")
    spec = model_of(weights_of(facts), plans=plans).spec
    assert spec.provenance["configuration"] == "2d"


def test_labels_name_the_classes_in_their_order() -> None:
    labels = {"border": 2, "background": 0, "nucleus": 1, "ignore": 3}
    spec = spec_of(None, {"labels": labels})
    assert [one.name for one in spec.classes] == ["background", "nucleus", "border"]
    assert (spec.output, spec.likely_activation) == ("classes", "softmax")
    assert spec.sources["output"] == spec.sources["classes"] == "read"


def test_regions_are_independent_of_each_other() -> None:
    labels = {
        "background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": 3, "ignore": 4,
    }  # fmt: skip
    spec = spec_of(None, {"labels": labels, "regions_class_order": [1, 2, 3]})
    assert [one.name for one in spec.classes] == ["whole", "core", "rim"]
    assert (spec.output, spec.likely_activation) == ("multilabel", "sigmoid")


def test_labels_of_another_network_are_left_out() -> None:
    spec = spec_of(None, {"labels": {"background": 0, "cell": 1}})
    assert spec.classes == ()
    assert any("2 labels, the network 3" in remark for remark in spec.remarks)
    assert spec.sources["output"] == "guessed"


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("ZScoreNormalization", "zscore"), ("RescaleTo01Normalization", "minmax"),
        ("RGBTo01Normalization", "scale"), ("NoNormalization", "none"),
    ],
)  # fmt: skip
def test_normalization_is_read(scheme: str, kind: str) -> None:
    spec = spec_of(usual_plans(normalization_schemes=[scheme]), DATASET)
    assert spec.normalization.kind == kind
    assert spec.normalization.divisor == 255
    assert spec.sources["normalization"] == "read"


def test_ct_normalization_has_the_training_images_values() -> None:
    plans = usual_plans(normalization_schemes=["CTNormalization"])
    plans["foreground_intensity_properties_per_channel"] = {
        "0": {
            "mean": 40.5, "std": 20.0, "percentile_00_5": -90.0,
            "percentile_99_5": 310.0, "median": 41.0, "min": -1000.0, "max": 3000.0,
        }
    }  # fmt: skip
    chosen = spec_of(plans, None).normalization
    assert (chosen.kind, chosen.means, chosen.deviations) == ("fixed", (40.5,), (20,))
    assert chosen.clip == ((-90, 310),)


def test_an_unknown_normalization_is_said() -> None:
    for scheme in ("CTNormalization", "OwnNormalization"):
        spec = spec_of(usual_plans(normalization_schemes=[scheme]), None)
        assert spec.sources["normalization"] == "guessed"
        assert f"the normalization {scheme} is not known" in spec.remarks


def test_names_of_channels_say_the_normalization_where_plans_do_not() -> None:
    spec = spec_of(None, {"channel_names": {"0": "noNorm"}})
    assert spec.normalization.kind == "none"


def test_nothing_stored_means_guesses() -> None:
    spec = spec_of(None, None)
    assert spec.normalization.kind == "zscore"
    assert (spec.sources["normalization"], spec.name) == ("guessed", "a title")


@pytest.mark.parametrize(
    ("reader", "spacing", "expected", "source"),
    [
        ("Tiff3DIO", [1.0, 1.0], None, None),
        ("NaturalImage2DIO", [999.0, 1.0], None, None),
        ("SimpleITKIO", [0.5, 0.25], (500.0, 250.0), "read"),
        ("NibabelIOWithReorient", [1.0, 0.5], (1000.0, 500.0), "read"),
        ("Tiff3DIO", [0.5, 0.25], (0.5, 0.25), "guessed"),
        ("Tiff3DIO", [0.0, 0.25], None, None),
        ("Tiff3DIO", [2.0, 0.5, 0.25], None, None),
    ],
)
def test_pixel_size(
    reader: str, spacing: list[float], expected: object, source: object
) -> None:
    plans = {**usual_plans(spacing=spacing), "image_reader_writer": reader}
    spec = spec_of(plans, DATASET)
    assert spec.pixel_size == expected
    assert spec.sources.get("pixel_size") == source


def test_what_the_user_must_know_is_said() -> None:
    plans = usual_plans(use_mask_for_norm=[True], previous_stage="3d_lowres")
    plans["transpose_forward"] = [2, 0, 1]
    said = " ".join(spec_of(plans, DATASET).remarks)
    assert "axes of its images in the order (2, 0, 1)" in said
    assert "labels of the stage 3d_lowres" in said
    assert "pixels that are not 0" in said


def test_origin_is_kept() -> None:
    facts, _ = recording("nnunet_plain_2d")
    model = model_of(
        weights_of(facts), plans=usual_plans(), configuration="test",
        dataset_json=DATASET, trainer_name="nnUNetTrainer",
    )  # fmt: skip
    assert model.spec.name == "Dataset001_Test test"
    assert model.spec.provenance == {
        "dataset": "Dataset001_Test", "plans": "nnUNetPlans", "configuration": "test",
        "trainer": "nnUNetTrainer", "channels": "DAPI",
    }  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        {"configurations": 3},
        {"configurations": {"test": "x"}},
        {"configurations": {"test": {"patch_size": [1e9, 2], "spacing": "x"}}},
        {"configurations": {"test": {"architecture": {"arch_kwargs": None}}}},
        {"configurations": {"test": {"UNet_class_name": 5}}},
        {"transpose_forward": "no"},
        {"foreground_intensity_properties_per_channel": {"0": {"mean": "nan"}}},
    ],
)
def test_damaged_plans_are_left_out_and_said(damage: dict[str, Any]) -> None:
    spec = spec_of({**usual_plans(), **damage}, {"labels": "x"})
    assert spec.architecture.in_channels == 1
    assert any("left out" in remark for remark in spec.remarks)


def test_plans_of_other_weights_are_said() -> None:
    plans = deepcopy(usual_plans())
    architecture = plans["configurations"]["test"]["architecture"]
    architecture["arch_kwargs"]["strides"] = [1, 2, 4]
    architecture["network_class_name"] = "somewhere.Primus"
    said = " ".join(spec_of(plans, None).remarks)
    assert "other strides than the weights" in said
    assert "Primus" in said


@pytest.mark.parametrize("change", [{"nonlin": "torch.nn.Own"}, {"strides": [2, 2, 2]}])
def test_networks_that_cannot_be_computed_are_refused(change: dict[str, Any]) -> None:
    plans = deepcopy(usual_plans())
    plans["configurations"]["test"]["architecture"]["arch_kwargs"] |= change
    with pytest.raises(Misfit):
        spec_of(plans, None)


@pytest.mark.parametrize("kind", ["2d", "3d"])
def test_real_checkpoints_are_reproduced(kind: str, data_folder: Path) -> None:
    folder = data_folder / "checkpoints" / f"nnunetv2_plain_{kind}_generated"
    file = folder / "fold_0" / "checkpoint_final.pth"
    model = understood(unwrap(file.name, file.stem, load_pickle(file)))
    with np.load(folder / "reference_io.npz") as reference, torch.no_grad():
        found = model.network(torch.from_numpy(reference["input"]))
        assert relative_error(found, reference["output"]) < TOLERANCE
    stated = json.loads((folder / "dataset.json").read_text())
    assert [one.name for one in model.spec.classes] == list(stated["labels"])
    assert model.spec.pixel_size is None
    assert model.spec.sources["normalization"] == "read"
