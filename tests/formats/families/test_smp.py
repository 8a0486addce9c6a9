"""Networks of segmentation-models-pytorch, read without that library."""

from __future__ import annotations

import sys
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
from napari_unet.engine.networks import build
from napari_unet.errors import CheckpointError
from napari_unet.formats.families import recognise
from napari_unet.formats.reading import Contents
from napari_unet.formats.weights import assemble

CASES = sorted(path.stem for path in FOLDER.glob("smp_*.npz"))
TOLERANCE = 1e-4
# With drawn weights these amplify a rounding error in the input to all of the output,
# so that their recorded output is one machine's; their layers are still compared.
CHAOTIC = {
    "smp_plus_plus_resnet50_depth4_scse", "smp_unet_0_0_scse", "smp_unet_0_3",
}  # fmt: skip


def opened(weights: dict[str, torch.Tensor], wanted: str = "") -> Model:
    reading = recognise(Contents("a.pth", "a", weights, wanted=wanted))
    architecture = reading.spec.architecture
    return Model(assemble(architecture, reading.weights, "a.pth"), reading.spec)


def weights_of(case: str) -> dict[str, torch.Tensor]:
    return drawn_weights(recording(case)[0]["shapes"])


def shapes_of(case: str) -> dict[str, torch.Tensor]:
    shapes = recording(case)[0]["shapes"].items()
    return {key: torch.empty(shape, device="meta") for key, shape in shapes}


def output(model: Model, facts: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model.network(drawn_input((1, *facts["size"])))


@pytest.mark.parametrize("case", [case for case in CASES if case not in CHAOTIC])
def test_the_makers_output_is_reproduced(case: str) -> None:
    facts, expected = recording(case)
    model = opened(weights_of(case))
    assert relative_error(output(model, facts), expected) <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_the_architecture_is_read_off_the_shapes(case: str) -> None:
    facts, expected = recording(case)
    given = facts["options"]
    found = recognise(Contents("a.pth", "a", shapes_of(case))).spec.architecture
    depth = given.get("encoder_depth", 5)
    decoder = given.get("decoder_channels", (256, 128, 64, 32, 16))
    assert found.family == facts["family"]
    assert (found.dims, found.in_channels) == (2, facts["size"][0])
    assert found.out_channels == expected.shape[1]
    assert found.stride == 2**depth
    assert len(found.widths) == depth + 1
    assert found.widths[0] == decoder[-1]
    assert found.traits[0] == f"{facts['encoder']} encoder"


@pytest.mark.parametrize("case", CASES)
def test_the_network_has_the_makers_keys(case: str) -> None:
    weights = shapes_of(case)
    spec = recognise(Contents("a.pth", "a", weights)).spec
    with torch.device("meta"):
        assert build(spec.architecture).state_dict().keys() == weights.keys()


def test_the_up_sampling_can_be_chosen() -> None:
    facts, expected = recording("smp_unet_resnet18")
    model = opened(weights_of("smp_unet_resnet18"), "linear up-sampling")
    assert model.spec.reading == "linear up-sampling"
    assert model.spec.readings[0] == "nearest up-sampling"
    assert relative_error(output(model, facts), expected) > TOLERANCE


def test_mean_and_deviation_beside_the_network_are_applied() -> None:
    facts, _ = recording("smp_unet_resnet18")
    plain = weights_of("smp_unet_resnet18")
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    kept = {"mean": mean.reshape(1, 3, 1, 1), "std": std.reshape(1, 3, 1, 1)}
    model = opened({**kept, **{f"model.{key}": v for key, v in plain.items()}})
    image = drawn_input((1, *facts["size"]))
    normalised = (image - kept["mean"]) / kept["std"]
    with torch.no_grad():
        expected = opened(plain).network(normalised)
        assert relative_error(model.network(image), expected.numpy()) <= TOLERANCE
    assert any("lie in the file" in remark for remark in model.spec.remarks)


def test_other_decoders_are_called_what_they_are() -> None:
    weights = weights_of("smp_unet_resnet18")
    other = {k: v for k, v in weights.items() if not k.startswith("decoder.blocks.0.")}
    with pytest.raises(CheckpointError, match="not that of a Unet or UnetPlusPlus"):
        opened(other)


def test_other_encoders_ask_for_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    weights = weights_of("smp_unet_resnet18")
    decoder = {k: v for k, v in weights.items() if not k.startswith("encoder.")}
    encoder = {"encoder.features.0.0.weight": torch.zeros(32, 3, 3, 3)}
    with pytest.raises(CheckpointError, match=r"a mobilenet_v2 as its encoder.*smp\]"):
        opened({**encoder, **decoder})


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "efficientnet-b0", "vgg11_bn"])
def test_the_library_helps_where_it_is_installed(encoder: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
    network = smp.Unet(encoder, encoder_weights=None, in_channels=1, classes=2)
    weights = drawn_weights({k: list(v.shape) for k, v in network.state_dict().items()})
    network.load_state_dict(weights)
    model = opened(weights)
    image = drawn_input((1, 1, 64, 96))
    with torch.no_grad():
        expected = network.eval()(image).numpy()
        assert relative_error(model.network(image), expected) <= TOLERANCE
    assert model.network.state_dict().keys() == weights.keys()
