"""Networks that Keras described or only weighed, read without Keras."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import torch
from tests.formats.recorded import FOLDER

from napari_unet.engine.builder import Misfit
from napari_unet.engine.config import PredictConfig
from napari_unet.engine.networks import build
from napari_unet.engine.predict import predict
from napari_unet.errors import CheckpointError
from napari_unet.formats import keras_file
from napari_unet.formats.families.keras.config import net_of, parse
from napari_unet.formats.families.keras.graph import graph_of
from napari_unet.formats.weights import assemble

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_unet.engine.model import Model

REFUSED = ("keras_unpadded",)
GUESSES = {"keras_rescaled_weights": (2 / 255, -1.0)}  # what the weights do not tell
CASES = sorted(path.stem for path in FOLDER.glob("keras_*.npz"))
KINDS = {
    "keras_recipe": ("none", (2, 4, 8), "foreground"),
    "keras_rescaled": ("batch", (2, 4, 8), "foreground"),
    "keras_added": ("group", (2, 4, 8), "classes"),
    "keras_separable": ("none", (2, 4, 8), "multilabel"),
    "keras_volume": ("batch", (2, 4, 4), "classes"),
}


def written(case: str, folder: Path) -> Path:
    """Write the file of a recording; return its place."""
    with np.load(FOLDER / f"{case}.npz") as record:
        place = folder / f"{case}{record['suffix']}"
        place.write_bytes(record["content"].tobytes())
    return place


def error(case: str, model: Model) -> float:
    """Return the largest difference of the scores to Keras', relative."""
    with np.load(FOLDER / f"{case}.npz") as record:
        x = torch.from_numpy(record["x"] / np.float32(record["divisor"]))
        expected = torch.from_numpy(record["y"])
    first = "channels_first" in case
    x = x if first else x.movedim(-1, 1)
    with torch.no_grad():
        found = model.scores(x.float())
    found = found if first else found.movedim(1, -1)
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("case", [case for case in CASES if case not in REFUSED])
def test_recorded_output_is_reproduced(case: str, tmp_path: Path) -> None:
    model = keras_file.load(written(case, tmp_path))
    if case in GUESSES:
        scale, offset = GUESSES[case]
        change = {"input_scale": scale, "input_offset": offset}
        model.network.graph = model.network.graph.model_copy(update=change)
    assert error(case, model) <= 1e-4
    assert model.spec.architecture.family == "Keras"


@pytest.mark.parametrize("case", KINDS)
def test_what_the_network_is_is_seen(case: str, tmp_path: Path) -> None:
    spec = keras_file.load(written(case, tmp_path)).spec
    graph = spec.architecture
    assert (graph.norm, graph.widths, spec.output) == KINDS[case]


@pytest.mark.parametrize(
    "case", ["keras_odd_strides", "keras_separable", "keras_bilinear", "keras_padded"]
)
def test_tiles_give_what_the_whole_gives(case: str, tmp_path: Path) -> None:
    model = keras_file.load(written(case, tmp_path))
    channels = model.spec.architecture.in_channels
    image = np.random.default_rng(3).integers(0, 256, (channels, 130, 117), np.uint8)
    whole, tiles = (
        predict(
            model, image, axes="CYX",
            config=PredictConfig(tile=tile, keep_scores=True, precision="float32"),
        ).scores
        for tile in (256, 32)
    )  # fmt: skip
    assert whole.std() > 0.001
    assert np.abs(whole - tiles).max() <= 1e-5 * np.abs(whole).max()


def test_scaling_inside_leaves_intensities_raw(tmp_path: Path) -> None:
    scaled = keras_file.load(written("keras_rescaled", tmp_path)).spec
    plain = keras_file.load(written("keras_added", tmp_path)).spec
    assert scaled.normalization.kind == "none"
    assert scaled.sources["normalization"] == "inferred"
    assert scaled.sources["input_scaling"] == "read"
    assert scaled.architecture.input_offset == -1
    assert (plain.normalization.kind, plain.normalization.divisor) == ("scale", 255)
    assert plain.sources["normalization"] == "guessed"


def test_code_at_the_input_becomes_a_guess(tmp_path: Path) -> None:
    spec = keras_file.load(written("keras_recipe", tmp_path)).spec
    assert spec.architecture.input_scale == pytest.approx(1 / 255)
    assert spec.sources["input_scaling"] == "guessed"
    assert any("never run" in remark for remark in spec.remarks)


def test_several_outputs_give_the_one_of_full_size(tmp_path: Path) -> None:
    spec = keras_file.load(written("keras_gated", tmp_path)).spec
    assert "1 further output left out" in spec.remarks


def test_unpadded_convolutions_are_refused_plainly(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="keep the size"):
        keras_file.load(written("keras_unpadded", tmp_path))


def test_weights_alone_offer_other_readings(tmp_path: Path) -> None:
    place = written("keras_recipe_keras2_weights", tmp_path)
    first = keras_file.load(place)
    assert first.spec.sources["architecture"] == "inferred"
    assert first.spec.reading == first.spec.readings[0]
    for reading in first.spec.readings[1:]:
        other = keras_file.load(place, reading)
        assert other.spec.reading == reading
        assert error("keras_recipe_keras2_weights", other) > 1e-3


def test_names_of_ones_own_do_as_well(tmp_path: Path) -> None:
    place = written("keras_recipe_keras2_weights", tmp_path)
    _rename(place, {"conv2d": "block", "max_pooling2d": "shrink", "concatenate": "j"})
    model = keras_file.load(place)
    assert error("keras_recipe_keras2_weights", model) <= 1e-4


def _rename(place: Path, words: dict[str, str]) -> None:
    """Call the layers of a Keras 2 weights file differently."""
    with h5py.File(place, "r+") as file:
        new = []
        for old in file.attrs["layer_names"]:
            kind = re.sub(r"_\d+$", "", old)
            name = f"{words.get(kind, kind)}of{len(new)}"
            file.move(old, name)
            new.append(name)
        file.attrs["layer_names"] = [name.encode() for name in new]


# -- Keras 2's way to describe a network


def as_keras2(described: Any) -> Any:
    """Return a description of Keras 3 as Keras 2 would have written it."""
    if isinstance(described, list):
        return [as_keras2(one) for one in described]
    if not isinstance(described, dict):
        return described
    new = {key: as_keras2(value) for key, value in described.items()}
    if "batch_shape" in new:
        new["batch_input_shape"] = new.pop("batch_shape")
    if new.get("class_name") == "LeakyReLU":
        new["config"]["alpha"] = new["config"].pop("negative_slope")
    if new.get("class_name") == "DTypePolicy":
        return new["config"]["name"]
    if "inbound_nodes" in described:
        new["inbound_nodes"] = [
            [[*history, {}] for history in _histories(node["args"])]
            for node in described["inbound_nodes"]
        ]
    return new


def _histories(args: Any) -> list[Any]:
    if isinstance(args, list):
        return [found for one in args for found in _histories(one)]
    return [args["config"]["keras_history"]]


@pytest.mark.parametrize("case", ["keras_recipe", "keras_odd_strides", "keras_chain",
                                  "keras_nested_legacy"])  # fmt: skip
def test_keras_2_descriptions_are_read(case: str, tmp_path: Path) -> None:
    place = written(case, tmp_path)
    with h5py.File(place, "r+") as file:
        described = as_keras2(json.loads(file.attrs["model_config"]))
        file.attrs["model_config"] = json.dumps(described).encode()
        file.attrs["keras_version"] = b"2.4.0"
    assert error(case, keras_file.load(place)) <= 1e-4


class Ones:
    """Every layer has a kernel of ones, as large as asked for."""

    def __init__(self, **kernels: tuple[int, ...]) -> None:
        self.kernels = kernels

    def of(self, path: tuple[str, ...]) -> list[tuple[str, NDArray[np.generic]]]:
        shape = self.kernels.get(path[-1])
        return [] if shape is None else [("kernel", np.ones(shape, np.float32))]


def functional(*layers: tuple[str, str, dict[str, Any], list[Any]]) -> dict[str, Any]:
    """Return what Keras 2 writes of layers: name, class, options, what they read."""
    first = {"batch_input_shape": [None, 32, 32, 1]}
    described = [{"name": "in", "class_name": "InputLayer", "config": first,
                  "inbound_nodes": []}]  # fmt: skip
    for name, kind, config, inbound in layers:
        described.append({
            "name": name, "class_name": kind, "config": config,
            "inbound_nodes": [inbound],
        })  # fmt: skip
    config = {
        "layers": described, "input_layers": [["in", 0, 0]],
        "output_layers": [[layers[-1][0], 0, 0]],
    }  # fmt: skip
    return {"class_name": "Functional", "config": config}


def read(*layers: tuple[str, str, dict[str, Any], list[Any]], **kernels: Any) -> Any:
    return graph_of(net_of(functional(*layers)), Ones(**kernels), 2)


def conv(name: str, source: str, **options: Any) -> tuple[str, str, Any, list[Any]]:
    options = {"use_bias": False, "padding": "same", **options}
    return name, "Conv2D", options, [[source, 0, 0, {}]]


def test_functions_of_tensorflow_are_read_by_name() -> None:
    divide = ["in", 0, 0, {"y": 127.5, "name": None}]
    added = ["a", 0, 0, {"y": ["b", 0, 0], "name": None}]
    found = read(
        ("div", "TFOpLambda", {"function": "math.truediv"}, [divide]),
        ("sub", "TFOpLambda", {"function": "math.subtract"}, [["div", 0, 0, {"y": 1}]]),
        conv("a", "sub"),
        ("b", "TFOpLambda", {"function": "nn.relu"}, [["a", 0, 0, {}]]),
        ("c", "TFOpLambda", {"function": "__operators__.add"}, [added]),
        a=(3, 3, 1, 1),
    )  # fmt: skip
    assert found.graph.input_scale == pytest.approx(1 / 127.5)
    assert found.graph.input_offset == -1
    assert [n.op for n in found.graph.nodes] == ["conv", "activation", "add"]


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(8, 3, 2), (12, 5, 2), (12, 4, 3), (8, 2, 1)]
)
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    found = read(
        conv("a", "in", strides=[stride, stride]),
        ("b", "UpSampling2D", {"size": [stride, stride]}, [["a", 0, 0, {}]]),
        a=(kernel, kernel, 1, 1),
    )
    network = assemble(found.graph, found.weights, "a")
    x = torch.rand(1, 1, size, size)
    with torch.no_grad():
        y = network(x)[0, 0, ::stride, ::stride]
    total = max((size // stride - 1) * stride + kernel - size, 0)
    padded = np.pad(x[0, 0].numpy(), (total // 2, total - total // 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))
    expected = windows[::stride, ::stride].sum((-1, -2))
    assert np.allclose(y.numpy(), expected, atol=1e-5)


def test_average_of_same_padding_leaves_the_padding_out() -> None:
    found = read(
        conv("a", "in"),
        ("b", "AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"},
         [["a", 0, 0, {}]]),
        ("c", "UpSampling2D", {"size": 2}, [["b", 0, 0, {}]]), a=(1, 1, 1, 1),
    )  # fmt: skip
    network = assemble(found.graph, found.weights, "a")
    with torch.no_grad():
        assert torch.allclose(network(torch.ones(1, 1, 8, 8)), torch.ones(()))


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (("x", "Flatten", {}, [["a", 0, 0, {}]]), "classifier"),
        (("x", "GlobalAveragePooling2D", {}, [["a", 0, 0, {}]]), "classifier"),
        (("x", "Lambda", {"function": "x"}, [["a", 0, 0, {}]]), "'x'.*never run"),
        (("x", "Capsule", {}, [["a", 0, 0, {}]]), "'Capsule'"),
        (("x", "Permute", {}, [["a", 0, 0, {}]]), "'Permute'"),
        (("x", "MaxPooling2D", {}, [["a", 0, 0, {}]]), "keep the size"),
        (("x", "MaxPooling2D", {"pool_size": 1e9}, [["a", 0, 0, {}]]), "pool_size"),
        (("x", "Add", {}, [["a", 0, 0, {}], ["x", 0, 0, {}]]), "its own result"),
        (("x", "Add", {}, [["a", 0, 0, {}], ["y", 0, 0, {}]]), "not described"),
        (("x", "Activation", {"activation": "abs"}, [["a", 0, 0, {}]]), "'abs'"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused(layer: Any, sentence: str) -> None:
    with pytest.raises(Misfit, match=sentence):
        read(conv("a", "in"), layer, a=(3, 3, 1, 2))


def test_descriptions_without_end_are_refused() -> None:
    with pytest.raises(Misfit, match="without end"):
        parse("[" * 100_000)
    with pytest.raises(Misfit, match="damaged"):
        parse('{"class_name": ')
    nested: Any = {"class_name": "Sequential", "config": []}
    for _ in range(20):
        nested = {"class_name": "Sequential", "config": {"layers": [nested]}}
    with pytest.raises(Misfit, match="without end"):
        net_of(nested)


@pytest.mark.parametrize(
    "described",
    [7, [], {}, {"class_name": "Functional"}, {"class_name": "Functional", "config": 3},
     {"class_name": "Functional", "config": {"layers": [{}], "input_layers": 1}}],
)  # fmt: skip
def test_other_json_is_refused(described: Any) -> None:
    with pytest.raises(Misfit, match="not one that Keras writes"):
        net_of(described)


def test_a_python_class_without_layers_is_named() -> None:
    with pytest.raises(Misfit, match="'MyUNet'"):
        net_of({"class_name": "MyUNet", "config": {"depth": 3}})


def test_a_graph_of_many_strides_is_refused_at_once() -> None:
    layers = [conv(f"l{n}", f"l{n - 1}" if n else "in", strides=4000 + n) for n in
              range(50)]  # fmt: skip
    with pytest.raises(Misfit, match="strides"):
        read(*layers, **{f"l{n}": (1, 1, 1, 1) for n in range(50)})


def test_graph_and_weights_have_the_same_names(tmp_path: Path) -> None:
    reading = keras_file.read(written("keras_nested", tmp_path))
    with torch.device("meta"):
        known = build(reading.spec.architecture).state_dict()
    counters = {key for key in known if key.endswith("num_batches_tracked")}
    assert set(reading.weights) == set(known) - counters
