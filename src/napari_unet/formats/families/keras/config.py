"""What Keras' JSON says of a network: layers, and which reads which. Runs nothing."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from napari_unet.engine.builder import Misfit

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 32 << 20  # characters of a description
DEEPEST_TEXT = 200  # brackets in brackets; Keras needs about 15
DEEPEST_NET = 8
MOST_LAYERS = 5000
OPERANDS = ("x", "y", "x1", "x2")  # arguments of arithmetic that may be numbers
NETS = ("Functional", "Model", "Sequential")


class Ref(NamedTuple):
    """One result of a layer: of its ``call``-th use, the ``tensor``-th result."""

    layer: str
    call: int
    tensor: int


@dataclass(frozen=True)
class Call:
    """One use of a layer.

    ``inputs`` are results of other layers or numbers, in order; ``options`` are
    further plain values by name.
    """

    inputs: tuple[Ref | float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Layer:
    """One layer: ``kind`` is its class, ``net`` what one that is a network holds."""

    name: str
    kind: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    net: Net | None = None


@dataclass(frozen=True)
class Net:
    """A network of layers by name, in Keras' order."""

    layers: Mapping[str, Layer]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]

    def everything(self) -> list[Layer]:
        """Return all layers that are no networks themselves, inner ones in place."""
        found: list[Layer] = []
        todo = list(self.layers.values())[::-1]
        while todo:
            layer = todo.pop()
            if layer.net is None:
                found.append(layer)
            else:
                todo += list(layer.net.layers.values())[::-1]
        return found


def parse(text: str) -> dict[str, Any]:
    """Return what a JSON text says by name, if it is neither giant nor absurdly nested.

    Raises
    ------
    Misfit
        If it is.
    """
    if len(text) > LONGEST:
        raise Misfit(f"its description is {len(text):,} characters long")
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > DEEPEST_TEXT:
            raise Misfit("its description is nested without end")
    try:
        said = json.loads(text)
    except ValueError as error:
        raise Misfit("its description is cut short or damaged") from error
    if not isinstance(said, dict):
        raise Misfit("its description is not one that Keras writes")
    return said


def net_of(described: Any) -> Net:
    """Return the network that a parsed ``model_config`` or ``config.json`` describes.

    Raises
    ------
    Misfit
        If it is no network of layers, or not described completely.
    """
    try:
        return _net(described, 0)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise Misfit("its description is not one that Keras writes") from error


def kind_of(described: Mapping[str, Any]) -> str:
    """Return the name of a class without the package that registered it."""
    return re.split(r"[>.]", str(described["class_name"]))[-1]


def _net(described: Mapping[str, Any], depth: int) -> Net:
    if depth > DEEPEST_NET:
        raise Misfit("its networks are nested without end")
    config = described["config"]
    if isinstance(config, list):  # Sequential before Keras 2.2.3
        config = {"layers": config}
    if "layers" not in config:
        raise Misfit(
            f"its network is of the Python class {kind_of(described)[:80]!r}, whose "
            "layers are not described in the file"
        )
    if len(config["layers"]) > MOST_LAYERS:
        raise Misfit(f"it has {len(config['layers']):,} layers")
    if "input_layers" in config:
        return _functional(config, depth)
    return _sequential(config, depth)


def _functional(config: Mapping[str, Any], depth: int) -> Net:
    layers: dict[str, Layer] = {}
    for one in config["layers"]:
        calls = tuple(map(_call, one.get("inbound_nodes") or ()))
        layer = _layer(one, calls, depth)
        if layer.name in layers:
            raise Misfit(f"two of its layers are called {layer.name[:80]!r}")
        layers[layer.name] = layer
    net = Net(layers, _refs(config["input_layers"]), _refs(config["output_layers"]))
    return _renumbered(net)


def _sequential(config: Mapping[str, Any], depth: int) -> Net:
    first = _layer_config(config["layers"][0])
    layers: dict[str, Layer] = {}
    if kind_of(config["layers"][0]) != "InputLayer":
        shape = first.get("batch_input_shape", config.get("build_input_shape"))
        layers["\0input"] = Layer("\0input", "InputLayer", {"batch_shape": shape}, ())
    last = next(iter(layers), "")
    for one in config["layers"]:
        calls = (Call((Ref(last, 0, 0),)),) if last else ()
        layer = _layer(one, calls, depth)
        layers[layer.name] = layer
        last = layer.name
    return Net(layers, (Ref(next(iter(layers)), 0, 0),), (Ref(last, 0, 0),))


def _layer_config(described: Mapping[str, Any]) -> Mapping[str, Any]:
    config = described["config"]
    return config if isinstance(config, dict) else {"layers": config}


def _layer(described: Mapping[str, Any], calls: tuple[Call, ...], depth: int) -> Layer:
    config = _layer_config(described)
    name = str(described.get("name") or config.get("name") or "")
    kind = kind_of(described)
    inner = kind in NETS or "layers" in config
    net = _net(described, depth + 1) if inner else None
    return Layer(name or kind.lower(), kind, config, calls, net)


def _call(described: Any) -> Call:
    """Return a use of a layer, as Keras 3 or as Keras 2 writes it."""
    options: dict[str, Any] = {}
    inputs: list[Ref | float] = []
    if isinstance(described, dict):
        for argument in described.get("args", ()):
            inputs += _arguments(argument)
        options |= described.get("kwargs") or {}
    else:
        single = bool(described) and isinstance(described[0], str)
        for one in [described] if single else described:
            inputs.append(_old_argument(one))
            options |= one[3] if len(one) > 3 else {}
    for name, value in options.items():
        if _is_tensor(value) or (name in OPERANDS and _is_number(value)):
            inputs += _arguments(value)
    return Call(tuple(inputs), options)


def _arguments(argument: Any) -> list[Ref | float]:
    """Return the tensors and numbers of one argument, lists flattened."""
    if _is_tensor(argument):
        old = isinstance(argument, list)
        return [_ref(argument if old else argument["config"]["keras_history"])]
    if isinstance(argument, list):
        return [ref for one in argument for ref in _arguments(one)]
    if _is_number(argument):
        return [float(argument)]
    raise ValueError(f"an argument {str(argument)[:80]}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_tensor(value: Any) -> bool:
    if isinstance(value, dict):
        return "keras_history" in (value.get("config") or {})
    return (
        isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
        and all(isinstance(number, int) for number in value[1:])
    )  # fmt: skip


def _old_argument(described: Any) -> Ref | float:
    if described[0] == "_CONSTANT_VALUE":
        return float(described[2])
    return _ref(described)


def _ref(described: Any) -> Ref:
    layer, call, tensor = described[:3]
    return Ref(str(layer), int(call), int(tensor))


def _refs(described: Any) -> tuple[Ref, ...]:
    """Return references out of one, a list, or a dictionary of them."""
    if isinstance(described, dict):
        described = list(described.values())
    if described and isinstance(described[0], str):
        described = [described]
    return tuple(map(_ref, described))


def _renumbered(net: Net) -> Net:
    """Return the network with uses counted from 0: Keras counts nested nets from 1."""
    lowest: dict[str, int] = {}
    for ref in _all_refs(net):
        lowest[ref.layer] = min(lowest.get(ref.layer, ref.call), ref.call)
    start = {
        name: min(lowest.get(name, 0), 1)
        for name, layer in net.layers.items() if layer.net is not None
    }  # fmt: skip

    def moved(ref: Ref) -> Ref:
        return ref._replace(call=ref.call - start.get(ref.layer, 0))

    def moved_call(call: Call) -> Call:
        inputs = (moved(i) if isinstance(i, Ref) else i for i in call.inputs)
        return replace(call, inputs=tuple(inputs))

    layers = {
        name: replace(layer, calls=tuple(map(moved_call, layer.calls)))
        for name, layer in net.layers.items()
    }
    return Net(layers, net.inputs, tuple(map(moved, net.outputs)))


def _all_refs(net: Net) -> list[Ref]:
    found = list(net.outputs)
    for layer in net.layers.values():
        for call in layer.calls:
            found += [ref for ref in call.inputs if isinstance(ref, Ref)]
    return found
