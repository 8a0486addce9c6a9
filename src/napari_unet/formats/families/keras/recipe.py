"""Keras weights without a description: a U-Net rebuilt from names and shapes.

Layers are taken to follow each other in the order of their names. Keras 2 lists all
layers, those without weights too; Keras 3 keeps an order for each class only, and what
stands between is found from the channels: a convolution that reads more than the one
before it gave reads a skip as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari_unet.engine.builder import Misfit
from napari_unet.formats.families.keras.config import Call, Layer, Net, Ref
from napari_unet.formats.families.keras.stored import (
    NamedWeights,
    groups_by_class,
    variables,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_unet.formats.families.choices import Choices
    from napari_unet.formats.hdf5 import Hdf5

Arrays = list[tuple[str, "NDArray[np.generic]"]]
ACTIVATIONS: dict[str, dict[str, Any]] = {
    "ReLU": {"kind": "ReLU"},
    "ELU": {"kind": "ELU"},
    "LeakyReLU of slope 0.1": {"kind": "LeakyReLU", "negative_slope": 0.1},
    "LeakyReLU of slope 0.2": {"kind": "LeakyReLU", "negative_slope": 0.2},
    "LeakyReLU of slope 0.3": {"kind": "LeakyReLU", "negative_slope": 0.3},
    "SELU": {"kind": "Activation", "activation": "selu"},
    "Swish": {"kind": "Activation", "activation": "swish"},
}
KINDS = (  # what a name says of a layer without weights; the first that is found
    (r"pool", "pool"), (r"up_?sampl|^up", "up"), (r"concat|merge|skip", "concat"),
    (r"drop|noise", "dropout"), (r"leaky", "LeakyReLU"), (r"^elu", "ELU"),
    (r"act|re_?lu|soft|sigm", "activation"), (r"^lambda|rescal|normali[sz]", "scale"),
    (r"input", "input"), (r"add|mul|sub|atten|gate|reshape|flatten|global", "other"),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One layer as its name and its weights show it: conv, up_conv, norm, pool ..."""

    kind: str
    name: str
    arrays: Arrays = field(default_factory=list)

    @property
    def kernel(self) -> NDArray[np.generic]:
        """The kernel (..., in, out); (..., out, in) of a transposed one."""
        return self.arrays[0][1]

    @property
    def reads(self) -> int:
        """Channels that a convolution reads."""
        return int(self.kernel.shape[-1 if self.kind == "up_conv" else -2])

    @property
    def gives(self) -> int:
        """Channels that a convolution gives."""
        return int(self.kernel.shape[-2 if self.kind == "up_conv" else -1])


class PartWeights:
    """The weights of parts; see ``stored.Stored``."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._arrays = {part.name: part.arrays for part in parts}

    def of(self, path: tuple[str, ...]) -> Arrays:
        """Return names and values of a layer's weights."""
        return self._arrays.get(path[-1], [])


# -- what the file holds


def parts_of(h5: Hdf5) -> list[Part] | None:
    """Return the layers of a file without a description, None if it is not Keras'."""
    names = h5.names("", "layer_names")
    if names is not None:
        stored = NamedWeights(h5, "")
        listed = _told_apart([(name, stored.of((name,))) for name in names])
        return [Part("listed", "listed"), *listed]
    groups = groups_by_class(h5)
    if not groups:
        return None
    return _in_order({
        kind: [Part(_kind(kind), place, _numbered(h5, place)) for place in of.values()]
        for kind, of in groups.items()
    }, h5)  # fmt: skip


def _numbered(h5: Hdf5, group: str) -> Arrays:
    return [("", h5.array(path)) for path in variables(h5, group)]


def _kind(name: str) -> str:
    """Return what a layer with weights of Keras' own class is."""
    kinds = {
        "conv2d": "conv", "conv3d": "conv", "conv2d_transpose": "up_conv",
        "conv3d_transpose": "up_conv", "batch_normalization": "norm",
        "dropout": "dropout", "spatial_dropout2d": "dropout",
    }  # fmt: skip
    return kinds.get(name, "other")


def _told_apart(layers: list[tuple[str, Arrays]]) -> list[Part]:
    """Tell the kind of each layer of Keras 2, in order."""
    parts: list[Part] = []
    for name, arrays in layers:
        kind = _kind(re.sub(r"_\d+$", "", name))
        if not arrays:
            kind = _without_weights(name)
        elif kind == "other":
            kind = _by_weights(name, arrays)
        parts.append(Part(kind, name, arrays))
    return parts


def _without_weights(name: str) -> str:
    found = (kind for pattern, kind in KINDS if re.search(pattern, name.lower()))
    return next(found, "unknown")


def _by_weights(name: str, arrays: Arrays) -> str:
    """Tell a layer that its maker named from its weights."""
    if {"moving_mean", "moving_variance"} <= {n for n, _ in arrays}:
        return "norm"
    if len(arrays) > 2 or arrays[0][1].ndim not in (4, 5):
        return "other"
    turned = len(arrays) == 2 and arrays[1][1].shape[:1] == arrays[0][1].shape[-2:-1]
    square = arrays[0][1].shape[-1] == arrays[0][1].shape[-2]
    named = re.search(r"transp|deconv|up_?conv|upconv|conv_?t(\d|$)", name.lower())
    return "up_conv" if named or (turned and not square) else "conv"


def _in_order(groups: Mapping[str, list[Part]], h5: Hdf5) -> list[Part]:
    """Put the layers of Keras 3 in order, each norm behind its convolution."""
    held = [part for of in groups.values() for part in of if part.kind != "dropout"]
    strange = [part.name for part in held if part.kind == "other"]
    if strange:
        raise Misfit(f"{strange[0]!r:.80} cannot be placed by its weights alone")
    convs = [part for part in held if part.kind == "conv"]
    ups = [part for part in held if part.kind == "up_conv"]
    norms = [part for part in held if part.kind == "norm"]
    ordered = _with_ups(convs, ups)
    places = (place for place in h5.texts if place.startswith("layers/"))
    kinds = {re.sub(r"_\d+$", "", place.split("/")[1]) for place in places}
    branches = kinds & {"add", "multiply", "average", "functional", "sequential"}
    if branches:
        raise Misfit(f"it is not described where its layer {min(branches)!r} stands")
    start = [Part("scale", "scale")] if kinds & {"lambda", "rescaling"} else []
    start += [Part("listed", "listed")] if "max_pooling2d" in kinds else []
    parts = [*start, *_with_norms(ordered, norms)]
    return _with_acts(parts) if kinds & {"activation", "re_lu"} else parts


def _with_acts(parts: list[Part]) -> list[Part]:
    """Add activations behind norms, or without norms behind convolutions."""
    behind = "norm" if any(part.kind == "norm" for part in parts) else "conv"
    last = max(n for n, part in enumerate(parts) if part.kind == "conv")
    found: list[Part] = []
    for n, part in enumerate(parts):
        found.append(part)
        if part.kind == behind and n < last:
            found.append(Part("activation", f"act{n}"))
    return found


def _with_ups(convs: list[Part], ups: list[Part]) -> list[Part]:
    """Put each transposed convolution before the one that reads its result.

    That one often reads as many channels as there were before, of the result and of a
    skip; but it is the first since then that gives fewer than it reads.
    """
    ordered: list[Part] = []
    left = [*ups]
    channels = convs[0].reads if convs else 0
    for conv in convs:
        turns = conv.gives < conv.reads or conv.reads != channels
        if left and turns and left[0].reads == channels > 0:
            ordered.append(left.pop(0))
        ordered.append(conv)
        channels = conv.gives
    if left:
        raise Misfit(f"{left[0].name!r:.80} fits nowhere between the convolutions")
    return ordered


def _with_norms(ordered: list[Part], norms: list[Part]) -> list[Part]:
    """Put norms behind all convolutions but the last, or all transposed ones too."""
    plain = [n for n, part in enumerate(ordered[:-1]) if part.kind == "conv"]
    for places in (plain, [*range(len(ordered) - 1)]):
        if len(norms) == len(places):
            behind = dict(zip(places, norms, strict=True))
            pairs = [(part, behind.get(n)) for n, part in enumerate(ordered)]
            return [part for pair in pairs for part in pair if part is not None]
    if norms:
        raise Misfit(f"its {len(norms)} norms cannot be placed by weights alone")
    return ordered


# -- the network


def net_from(parts: list[Part], choices: Choices) -> Net:
    """Return the U-Net that follows from the order of the layers.

    Parameters
    ----------
    parts : from ``parts_of``
    choices : decides what names and shapes leave open

    Raises
    ------
    Misfit
        If the layers do not follow each other as in a U-Net.
    """
    strange = [part.name for part in parts if part.kind == "other"]
    if strange:
        raise Misfit(
            f"it is not described how its layers are connected, and {strange[0]!r:.80} "
            "is none of a plain U-Net: save the whole model instead of the weights"
        )
    kinds = {part.kind for part in parts}
    if not {"pool", "concat"} <= kinds:
        told = [part for part in parts if part.kind not in ("pool", "concat", "up")]
        parts = _with_levels(told)
    return _Chain(parts, choices).net()


def _with_levels(parts: list[Part]) -> list[Part]:
    """Add pools, up-samplings and concatenations where the channels ask for them."""
    convs = [n for n, part in enumerate(parts) if part.kind in ("conv", "up_conv")]
    joins = _joins(parts, convs)
    if not joins:
        raise Misfit("no convolution reads a skip: it is no U-Net")
    widening = [
        n for n in convs[1:]
        if n < joins[0] and parts[n].kind == "conv" and parts[n].gives > parts[n].reads
    ]  # fmt: skip
    if len(widening) != len(joins):
        raise Misfit(
            f"its channels grow {len(widening)} times on the way down, and "
            f"{len(joins)} skips are read on the way up"
        )
    before: dict[int, list[Part]] = {n: [Part("pool", "pool")] for n in widening}
    for n in joins:
        before.setdefault(n, []).append(Part("concat", "concat"))
        previous = max(c for c in convs if c < n)
        if parts[previous].kind == "up_conv":
            continue
        narrows = parts[previous].gives < parts[previous].reads
        place = previous if narrows and previous not in joins else n
        before.setdefault(place, []).insert(0, Part("up", "up"))
    return [part for n, one in enumerate(parts) for part in (*before.get(n, ()), one)]


def _joins(parts: list[Part], convs: list[int]) -> list[int]:
    """Return the convolutions that read more than the one before them gave."""
    return [n for before, n in pairwise(convs) if parts[n].reads > parts[before].gives]


class _Chain:
    """Strings layers together: down, over the bottom, and up again with skips."""

    def __init__(self, parts: list[Part], choices: Choices) -> None:
        self.parts = parts
        self.choices = choices
        self.layers: dict[str, Layer] = {}
        self.skips: list[Ref] = []

    def net(self) -> Net:
        """Return the network of the parts."""
        convs = [part for part in self.parts if part.kind == "conv"]
        if len(convs) < 2:
            raise Misfit("it holds no convolutions of a U-Net")
        last = convs[-1]
        self._decide(last)
        shape = [None] * (last.kernel.ndim - 1) + [convs[0].reads]
        x = self._add("input", "InputLayer", {"batch_shape": shape}, ())
        start = x
        for part in self.parts[:4]:
            if part.kind == "scale":
                x = self._add(part.name, "Lambda", {}, (x,))
        for number, part in enumerate(self.parts):
            x = self._part(part, number, x, last)
        if self.skips:
            raise Misfit(f"{len(self.skips)} of its skips are never read")
        x = self._add("head", "Activation", {"activation": self.head}, (x,))
        return Net(self.layers, (start,), (x,))

    def _decide(self, last: Part) -> None:
        """Take what neither names nor shapes tell."""
        kinds = [part.kind for part in self.parts]
        take = self.choices.take
        said = next((k for k in kinds if k in ("LeakyReLU", "ELU")), None)
        ways = {w: a for w, a in ACTIVATIONS.items() if said in (None, a["kind"])}
        self.act = take(ways, "the weights do not tell the activation")
        orders = {"up-sampled before skip": False, "skip before up-sampled": True}
        why = "the weights do not tell the order of concatenation"
        self.skip_first = take(orders, why)
        self.own_acts = bool({"activation", "LeakyReLU", "ELU"} & set(kinds))
        self.norm_first = self.own_acts
        if "norm" in kinds and "listed" not in kinds and not self.own_acts:
            places = {"norm before activation": True, "activation before norm": False}
            why = "the weights do not tell whether norm or activation is first"
            self.norm_first = take(places, why)
        self.mode = "nearest"
        if "up" in kinds:
            modes = {f"{mode} up-sampling": mode for mode in ("nearest", "bilinear")}
            self.mode = take(modes, "the weights do not tell the kind of up-sampling")
        ends = {"a sigmoid at the end": "sigmoid", "a softmax at the end": "softmax"}
        ends = ends if last.gives == 1 else dict(list(ends.items())[::-1])
        ends["no activation at the end"] = "linear"
        self.head = take(ends, "the weights do not tell the final activation")

    def _part(self, part: Part, number: int, x: Ref, last: Part) -> Ref:
        """Add one part to what there is, and return the new end."""
        if part.kind in ("conv", "up_conv"):
            return self._conv(part, number, x, last)
        if part.kind == "norm":
            return self._norm(part, x)
        if part.kind in ("activation", "LeakyReLU", "ELU"):
            return self._acted(part.name, x) if number < self._number(last) else x
        if part.kind == "pool":
            self.skips.append(x)
            return self._add(f"pool{number}", "MaxPooling2D", {}, (x,))
        if part.kind == "up":
            options = {"interpolation": self.mode}
            return self._add(f"up{number}", "UpSampling2D", options, (x,))
        if part.kind == "concat":
            if not self.skips:
                raise Misfit(f"{part.name!r:.80} finds no skip to read")
            pair = (x, self.skips.pop())
            pair = pair[::-1] if self.skip_first else pair
            return self._add(f"concat{number}", "Concatenate", {}, pair)
        return x

    def _number(self, part: Part) -> int:
        return next(n for n, one in enumerate(self.parts) if one is part)

    def _conv(self, part: Part, number: int, x: Ref, last: Part) -> Ref:
        options: dict[str, Any] = {"padding": "same", "use_bias": len(part.arrays) > 1}
        if part.kind == "up_conv":
            options["strides"] = 2
            return self._add(part.name, "Conv2DTranspose", options, (x,))
        x = self._add(part.name, "Conv2D", options, (x,))
        behind = [one.kind for one in self.parts[number + 1 : number + 2]]
        wait = self.own_acts or (self.norm_first and behind == ["norm"])
        return x if part is last or wait else self._acted(f"{part.name} act", x)

    def _norm(self, part: Part, x: Ref) -> Ref:
        held = {name for name, _ in part.arrays}
        count = len(part.arrays)
        scale = "gamma" in held if held != {""} else count == 4
        center = "beta" in held if held != {""} else count > 2
        options = {"scale": scale, "center": center}
        x = self._add(part.name, "BatchNormalization", options, (x,))
        waits = self.norm_first and not self.own_acts
        return self._acted(f"{part.name} act", x) if waits else x

    def _acted(self, name: str, x: Ref) -> Ref:
        options = {key: value for key, value in self.act.items() if key != "kind"}
        return self._add(name, str(self.act["kind"]), options, (x,))

    def _add(
        self, name: str, kind: str, options: Mapping[str, Any], inputs: tuple[Ref, ...]
    ) -> Ref:
        if name in self.layers:
            raise Misfit(f"two of its layers are called {name[:80]!r}")
        self.layers[name] = Layer(name, kind, options, (Call(inputs),))
        return Ref(name, 0, 0)


def with_volume_kinds(net: Net, dims: int) -> Net:
    """Return a network whose layers are those for volumes, if it has 3 dimensions."""
    if dims == 2:
        return net
    layers = {
        name: replace(layer, kind=layer.kind.replace("2D", "3D"))
        for name, layer in net.layers.items()
    }
    return replace(net, layers=layers)
