"""Networks of pytorch-3dunet, read without that library."""

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

CASES = sorted(path.stem for path in FOLDER.glob("3dunet_*.npz"))
TOLERANCE = 1e-4
WANTED = {  # where the weights leave a choice, and the likeliest is not the right one
    "3dunet_2d_crb": "crb",
    "3dunet_2d_cl": "cl",
    "3dunet_2d_linear": "gcr, 4 groups, linear up-sampling",
    "3dunet_3d_ce": "ce",
    "3dunet_3d_gcl": "gcl, 4 groups",
    "3dunet_3d_gcr_eight_groups": "gcr, 8 groups",
    "3dunet_3d_residual_gcl": "gcl, 4 groups",
}


def opened(weights: dict[str, torch.Tensor], wanted: str = "") -> Model:
    reading = recognise(Contents("a.pytorch", "a", weights, wanted=wanted))
    architecture = reading.spec.architecture
    return Model(assemble(architecture, reading.weights, "a.pytorch"), reading.spec)


def weights_of(case: str) -> dict[str, torch.Tensor]:
    return drawn_weights(recording(case)[0]["shapes"])


def output(model: Model, facts: dict[str, Any]) -> torch.Tensor:
    """Return what the maker's network gives, which ends with its activation."""
    image = drawn_input((1, *facts["size"]))
    options = facts["options"]
    with torch.no_grad():
        logits = model.network(image)
        if not options.get("is_segmentation", True):
            return logits
        if options["out_channels"] > 1 and options["final_sigmoid"]:
            return logits.sigmoid()  # the file does not say so
        return model.scores(image)


@pytest.mark.parametrize("case", CASES)
def test_the_makers_output_is_reproduced(case: str) -> None:
    facts, expected = recording(case)
    model = opened(weights_of(case), WANTED.get(case, ""))
    assert relative_error(output(model, facts), expected) <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_architecture_is_read_off_the_weights(case: str) -> None:
    facts, expected = recording(case)
    given = facts["options"]
    found = opened(weights_of(case)).spec.architecture
    base, levels = given["f_maps"], given.get("num_levels", 5 if "old" in case else 4)
    maps = base if isinstance(base, list) else [base * 2**n for n in range(levels)]
    assert found.family == facts["family"]
    assert found.dims == expected.ndim - 2
    assert found.in_channels == given["in_channels"]
    assert found.out_channels == given["out_channels"]
    assert found.widths == tuple(maps)
    assert found.residual == ("Residual" in facts["family"])


@pytest.mark.parametrize("case", CASES)
def test_the_network_keeps_the_makers_keys(case: str) -> None:
    weights = weights_of(case)
    assert opened(weights).network.state_dict().keys() == weights.keys()


def test_what_the_weights_do_not_show_is_listed() -> None:
    spec = opened(weights_of("3dunet_3d_gcr")).spec
    assert spec.reading == spec.readings[0] == "gcr, 4 groups"
    assert {"gcl, 4 groups", "gce, 4 groups", "gcr, 8 groups"} <= set(spec.readings)
    assert "do not show the activation and the number of groups" in spec.remarks[0]
    assert spec.sources["reading"] == spec.sources["activation"] == "guessed"


@pytest.mark.parametrize("reading", ["xyz", "gcr, 0 groups", "bcr", "gcr,"])
def test_readings_that_do_not_fit_are_refused(reading: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as"):
        opened(weights_of("3dunet_3d_gcr"), reading)


def test_batch_norms_that_saw_no_negative_come_after_the_activation() -> None:
    weights = {
        key: value.abs() if key.endswith("running_mean") else value
        for key, value in weights_of("3dunet_2d_crb").items()
    }
    assert opened(weights).spec.reading == "crb"


def test_the_order_of_keys_tells_the_place_of_a_residual_norm() -> None:
    before = weights_of("3dunet_3d_residual")
    assert opened(before).spec.reading == "gcr, 4 groups"
    after = weights_of("3dunet_2d_residual")
    assert opened(after).spec.reading == "cge, 4 groups"


def test_kernels_of_one_plane_are_read_as_2d() -> None:
    flat = weights_of("3dunet_2d_bcr")
    thick = {k: v.unsqueeze(2) if v.ndim == 4 else v for k, v in flat.items()}
    facts, expected = recording("3dunet_2d_bcr")
    model = opened(thick)
    assert model.spec.architecture.dims == 2
    assert relative_error(output(model, facts), expected) <= TOLERANCE
    assert any("one plane thick" in remark for remark in model.spec.remarks)


def test_a_missing_level_is_named() -> None:
    weights = weights_of("3dunet_2d_bcr")
    fewer = {k: v for k, v in weights.items() if not k.startswith("decoders.1.")}
    with pytest.raises(CheckpointError, match="encoders do not fit"):
        opened(fewer)
