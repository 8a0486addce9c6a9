"""Files of torch.save: plain weights are opened, everything else refused unrun."""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_unet.errors import CheckpointError
from napari_unet.formats import load_model
from tiny import tiny_model

if TYPE_CHECKING:
    from pathlib import Path

ARCHITECTURES = [
    {"norm": norm, "upsampling": upsampling, "residual": residual, "dims": dims}
    for norm, upsampling, residual, dims in itertools.product(
        ("none", "batch"), ("transposed", "interpolate"), (False, True), (2, 3)
    )
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


@pytest.mark.parametrize(
    "fields", ARCHITECTURES, ids=lambda v: "-".join(map(str, v.values()))
)
def test_the_architecture_is_read_off_the_weights(path: Path, fields: dict) -> None:
    model = tiny_model("classes", widths=(4, 6, 10), in_channels=3, **fields)
    torch.save(model.network.state_dict(), path)
    loaded = load_model(path, device="cpu")
    assert loaded.spec.architecture == model.spec.architecture
    assert loaded.spec.sources["architecture"] == "inferred"
    x = torch.rand(1, 3, *[9] * fields["dims"])
    with torch.inference_mode():
        assert torch.equal(loaded.network(x), model.network(x))


@pytest.mark.parametrize("output", ["instances", "foreground", "classes"])
def test_the_output_is_guessed_and_can_be_overridden(path: Path, output: str) -> None:
    torch.save(tiny_model(output).network.state_dict(), path)
    assert load_model(path).spec.output == output
    assert load_model(path).spec.sources["output"] == "guessed"
    with pytest.raises(CheckpointError, match="settings do not fit the model"):
        load_model(path, overrides={"output": "nonsense"})
    assert load_model(path, overrides={"name": "mine"}).spec.name == "mine"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: {"epoch": 3, "state_dict": w},
        lambda w: {"model": {"state_dict": w}},
        lambda w: {f"module.{key}": value for key, value in w.items()},
        lambda w: OrderedDict(
            (k, v.double()) for k, v in w.items() if "tracked" not in k
        ),
    ],
)
def test_usual_wrappings_are_seen_through(path: Path, wrap: Any) -> None:
    model = tiny_model()
    torch.save(wrap(model.network.state_dict()), path)
    loaded = load_model(path)
    assert torch.equal(loaded.network.head.weight, model.network.head.weight)


@pytest.mark.parametrize("zipped", [True, False])
def test_old_and_new_files_of_torch_are_opened(path: Path, *, zipped: bool) -> None:
    weights = tiny_model().network.state_dict()
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(load_model(path).network.head.bias, weights["head.bias"])


def test_a_file_written_without_checksums_is_opened(path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(tiny_model().network.state_dict(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_model(path).spec.architecture.widths == (4, 8)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_is_refused(path: Path, part: float, *, zipped: bool) -> None:
    weights = tiny_model().network.state_dict()
    torch.save(weights, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(
        CheckpointError, match=r"cut short|damaged|is empty|unknown kind"
    ):
        load_model(path)


def test_a_flipped_bit_is_noticed(path: Path) -> None:
    torch.save(tiny_model().network.state_dict(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|cut short"):
        load_model(path)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_never_run(path: Path, *, zipped: bool) -> None:
    marker = path.parent / "ran"
    content = {**tiny_model().network.state_dict(), "extra": Payload(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        CheckpointError, match=r"holds the Python object.*nothing was run"
    ):
        load_model(path)
    assert not marker.exists()


def test_a_whole_pickled_network_is_refused_with_advice(path: Path) -> None:
    torch.save(tiny_model().network, path)
    with pytest.raises(CheckpointError, match=r"save network\.state_dict\(\)"):
        load_model(path)


def changed(key: str, value: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return the weights of a network with one put in or left out."""
    weights = tiny_model().network.state_dict()
    weights.pop(key, None)
    return weights if value is None else {**weights, key: value}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed("head.bias", torch.tensor([0.0, torch.nan])), "head.bias holds NaN"),
        (changed("head.bias", torch.tensor([0.0, torch.inf])), "NaN or infinity"),
        (changed("head.bias", torch.tensor([1, 2])), "head.bias is int64"),
        (changed("head.bias", torch.zeros(2, dtype=torch.cfloat)), "is complex64"),
        (
            changed("encoder.0.first.1.running_var", -torch.ones(4)),
            "running_var is negative",
        ),
        (changed("head.bias", None), "lacks the weight head.bias"),
        (changed("surplus", torch.ones(1)), "has the surplus weight surplus"),
        (changed("head.bias", torch.ones(3)), "misfits in the weight head.bias"),
        (changed("head.weight", torch.ones(2)), "head.weight is not there"),
        (changed("head.weight", torch.ones(1).expand(2, 10**10, 1, 1)), "states 8"),
        (
            {"encoder.0.first.0.weight": torch.ones(())},
            "'encoder.0.first.0.weight' and no weights by name",
        ),
        ({"a": torch.ones(2)}, "holds 'a' and no weights by name"),
        ({"epoch": 3}, "holds 'epoch' and no weights by name"),
        ({3: torch.ones(2, 2)}, "holds '3' and no weights by name"),
        ({}, "holds no weights at all"),
        ([], "holds a list, expected weights by name"),
        (torch.ones(2), "holds a Tensor, expected weights by name"),
        (None, "holds a NoneType"),
    ],
)
def test_what_is_no_usable_set_of_weights_is_named(
    path: Path, content: Any, words: str
) -> None:
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=words):
        load_model(path)


def test_a_dictionary_that_contains_itself_is_refused(path: Path) -> None:
    content: dict[str, Any] = {}
    content["model"] = content
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="'model' and no weights by name"):
        load_model(path)
