"""U-Nets of torch-em, read without that library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.formats.recorded import (
    FOLDER,
    drawn_input,
    drawn_weights,
    recording,
    relative_error,
)

from napari_unet.engine.model import Model
from napari_unet.errors import CheckpointError
from napari_unet.formats.families import recognise
from napari_unet.formats.reading import Contents
from napari_unet.formats.weights import assemble

CASES = sorted(path.stem for path in FOLDER.glob("torch_em_*.npz"))
TOLERANCE = 1e-4
PLANES = "torch_em_3d_planes_even_kernel"
ONE_LEVEL = "planes kept apart in the first 1 levels"
NORMS = {
    "InstanceNorm": "instance",
    "InstanceNormTrackStats": "batch",  # the same keys, and the same when predicting
    "BatchNorm": "batch",
    "GroupNorm": "group",
    None: "none",
}


def opened(
    weights: dict[str, torch.Tensor], wanted: str = "", **model_kwargs: object
) -> Model:
    beside = {"init": {"model_kwargs": model_kwargs}} if model_kwargs else {}
    reading = recognise(Contents("best.pt", "best", weights, beside, wanted=wanted))
    architecture = reading.spec.architecture
    return Model(assemble(architecture, reading.weights, "best.pt"), reading.spec)


def weights_of(case: str) -> dict[str, torch.Tensor]:
    return drawn_weights(recording(case)[0]["shapes"])


def output(model: Model, facts: dict[str, Any]) -> torch.Tensor:
    image = drawn_input((1, *facts["size"]))
    ends = "final_activation" in facts["options"]
    with torch.no_grad():
        return model.scores(image) if ends else model.network(image)


@pytest.mark.parametrize("case", CASES)
def test_the_makers_output_is_reproduced(case: str) -> None:
    facts, expected = recording(case)
    model = opened(weights_of(case), ONE_LEVEL if case == PLANES else "")
    assert relative_error(output(model, facts), expected) <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_architecture_is_read_off_the_weights(case: str) -> None:
    facts, expected = recording(case)
    given = facts["options"]
    found = opened(weights_of(case), ONE_LEVEL if case == PLANES else "")
    depth = given.get("depth", 3 if "scale_factors" in given else 4)
    first, gain = given.get("initial_features", 32), given.get("gain", 2)
    architecture = found.spec.architecture
    assert architecture.family == facts["family"]
    assert architecture.dims == expected.ndim - 2
    assert architecture.in_channels == given["in_channels"]
    assert architecture.out_channels == expected.shape[1]
    assert architecture.widths == tuple(first * gain**n for n in range(depth + 1))
    assert architecture.norm == NORMS[given.get("norm", "InstanceNorm")]


@pytest.mark.parametrize("case", CASES)
def test_the_network_keeps_the_makers_keys(case: str) -> None:
    weights = weights_of(case)
    assert opened(weights).network.state_dict().keys() == weights.keys()


def test_the_levels_that_keep_planes_apart_are_readings() -> None:
    spec = opened(weights_of(PLANES)).spec
    assert spec.reading == spec.readings[0] == "every axis halved at every level"
    assert ONE_LEVEL in spec.readings
    with pytest.raises(CheckpointError, match="cannot be read as"):
        opened(weights_of(PLANES), "planes kept apart in the first 9 levels")


def test_what_the_trainer_wrote_down_is_read() -> None:
    facts, expected = recording(PLANES)
    planes = facts["options"]["scale_factors"]
    model = opened(weights_of(PLANES), scale_factors=planes, final_activation="Sigmoid")
    assert relative_error(output(model, facts), expected) <= TOLERANCE
    assert model.spec.architecture.family == "torch-em AnisotropicUNet"
    assert model.spec.sources["activation"] == "read"
    assert model.spec.readings == ()


def test_several_channels_are_scored_each_on_its_own() -> None:
    spec = opened(weights_of("torch_em_2d")).spec
    assert (spec.output, spec.likely_activation) == ("multilabel", "sigmoid")
    assert spec.sources["activation"] == "guessed"


def test_a_missing_level_is_named() -> None:
    weights = weights_of("torch_em_2d")
    fewer = {k: v for k, v in weights.items() if not k.startswith("decoder.blocks.3.")}
    with pytest.raises(CheckpointError, match="encoders do not fit"):
        opened(fewer)
