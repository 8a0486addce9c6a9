"""Encoders that are read through segmentation-models-pytorch, where it is installed.

The weights of a mobilenet do not say everything: the small constants of its norms, or
where it pads. So the library builds, without memory for weights, the encoders whose
keys look alike until one has just these shapes; smp_trace.py makes a graph of it. The
library is not needed again once the model is saved natively.
"""

from __future__ import annotations

import re
import time
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from napari_unet.errors import CheckpointError
from napari_unet.formats.families import smp_trace

if TYPE_CHECKING:
    from typing import Any

    from napari_unet.engine.builder import Builder, Shapes
    from napari_unet.formats.reading import Contents

LONGEST_SEARCH = 45.0  # seconds
INSTALL = 'pip install "napari-unet-workbench[smp]"'
STYLES = (  # what an encoder's keys look like, what to call it, and names of its like
    (r"features\.0\.0\.weight", "a mobilenet_v2", r"mobilenet_v2"),
    (r"features\.denseblock1\.", "a densenet", r"densenet"),
    (r"features\.conv1_1\.", "a dpn", r"dpn"),
    (r"features\.0\.weight", "a vgg", r"vgg"),
    (r"_conv_stem\.", "an efficientnet", r"efficientnet-b"),
    (r"conv_stem\.", "a timm efficientnet", r"timm-(tf_)?efficientnet"),
    (r"layer0\.conv1\.", "a squeeze-and-excitation resnet", r"se"),
    (r"conv2d_1a\.|features\.0\.conv\.", "an inception", r"inception"),
    (r"conv1\.weight$.*^block1\.", "an xception", r"xception"),
    (r"stage0\.rbr_", "a mobileone", r"mobileone"),
    (r"patch_embed1\.", "a mix transformer", r"mit_b"),
    (r"layer1\.0\.conv2\.", "a timm resnet", r"timm-skres"),
)
TIMM_STYLES = (
    (r"model\.conv_stem\.", r"(tf_)?(efficient|mobile|mnas|mix|fb|tiny|lc|spnas|sem)"),
    (r"model\.(layer1\.0|conv1)\.", r"(tv_|gluon_|legacy_|wide_|eca_?|se|sk|ig_)?res"),
    (r"model\.(s1|stem)", r"regnet|rexnet|gernet|rep|hardcore|nf|cs|convnext|edgenext"),
    (r"model\.", r"."),
)


class _Absent(Exception):
    """The library cannot be used here."""


def features(
    b: Builder, image: int, contents: Contents, prefix: str, depth: int
) -> tuple[tuple[str, ...], list[int]]:
    """Write an encoder that the library knows; return its names and values.

    There is more than one name where encoders have the same weights and compute
    differently; the first is that which was written.

    Parameters
    ----------
    b : with the shapes of the weights
    image : the value that goes in
    contents : the file's
    prefix : what the network's keys begin with
    depth : how often the encoder halves the resolution

    Raises
    ------
    CheckpointError
        If the library is not there, or knows no such encoder.
    """
    start = f"{prefix}encoder."
    own = {
        k[len(start) :]: v for k, v in contents.shapes.items() if k.startswith(start)
    }
    style = _style(own)
    try:
        names, encoder = _found(own, b.channels[0], depth, contents.wanted)
    except _Absent as absent:
        raise CheckpointError(
            f"{contents.name} is a network of segmentation-models-pytorch with {style} "
            "as its encoder, which is read where that library is installed "
            f"({absent}): {INSTALL}."
        ) from absent
    if encoder is None:
        raise CheckpointError(
            f"{contents.name} is a network of segmentation-models-pytorch with {style} "
            "as its encoder, and no encoder of the installed library was found to have "
            f"its shapes in {LONGEST_SEARCH:.0f} seconds: name the encoder as the "
            "reading, such as tu-mobilenetv3_small_100."
        )
    inner = "" if any(key.startswith("model.") for key in own) else "model."
    try:
        return names, smp_trace.features(b, image, encoder, start, inner)
    except smp_trace.Untold as untold:
        raise CheckpointError(
            f"{contents.name} is a network of segmentation-models-pytorch with the "
            f"encoder {names[0]}, whose {untold} cannot be read yet: export it to ONNX "
            "or TorchScript, and open that."
        ) from untold


def _style(own: Shapes) -> str:
    """Say what the encoder is like."""
    if any(key.startswith("model.") for key in own):
        return "a timm network"
    return next((named for look, named, _ in STYLES if _looks(own, look)), "another")


def _looks(own: Shapes, look: str) -> bool:
    return re.search(f"^{look}", "\n".join(own), re.MULTILINE | re.DOTALL) is not None


def _found(
    own: Shapes, channels: int, depth: int, wanted: str
) -> tuple[tuple[str, ...], Any]:
    """Return the names and the first encoder of these shapes, without memory."""
    smp = _library()
    until = time.monotonic() + LONGEST_SEARCH
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        named = [wanted] if re.fullmatch(r"[a-z][\w.-]{2,60}", wanted) else []
        for name in [*named, *_candidates(own, smp)]:
            if time.monotonic() > until:
                break
            encoder = _fitting(smp, name, channels, depth, own)
            if encoder is None:
                continue
            twin = _twin(name)
            other = _fitting(smp, twin, channels, depth, own) if twin else None
            if other is None:
                return (name,), encoder
            return (name, twin), encoder
    return (), None


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module("segmentation_models_pytorch")
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise _Absent(reason) from error


def _fitting(smp: Any, name: str, channels: int, depth: int, own: Shapes) -> Any:
    """Return the encoder of a name if it has just these weights, else None."""
    encoder = _built(smp, name, channels, depth) if _likely(name, own) else None
    return encoder if encoder is not None and _fits(encoder, own) else None


def _twin(name: str) -> str:
    """Return timm's name for the same weights that pads as TensorFlow, or does not."""
    if name.startswith("tu-tf_"):
        return f"tu-{name.removeprefix('tu-tf_')}"
    return f"tu-tf_{name.removeprefix('tu-')}" if name.startswith("tu-") else ""


def _candidates(own: Shapes, smp: Any) -> list[str]:
    """Return the names of encoders that the keys look like, the likeliest first."""
    known = list(smp.encoders.get_encoder_names())
    if any(key.startswith("model.") for key in own):
        return _timm(own)
    alike = [like for look, _, like in STYLES if _looks(own, look)]
    found = [name for name in known if any(re.match(like, name) for like in alike)]
    return [*(found or known), *_timm({f"model.{k}": v for k, v in own.items()})]


def _timm(own: Shapes) -> list[str]:
    """Return the names in timm that the keys look like; the simplest are first."""
    timm = import_module("timm")
    trained = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    names = [
        f"tu-{name}"
        for name in sorted(timm.list_models(), key=lambda n: (n not in trained, len(n)))
    ]
    for look, like in TIMM_STYLES:
        if _looks(own, look):
            return [name for name in names if re.match(f"tu-(?:{like})", name)]
    return []


def _built(smp: Any, name: str, channels: int, depth: int) -> Any:
    """Return an encoder without memory for its weights, None if it cannot be built."""
    import torch

    for device in ("meta", "cpu"):  # some compute while they are built
        try:
            with torch.device(device):
                return smp.encoders.get_encoder(
                    name, in_channels=channels, depth=depth, weights=None
                ).eval()
        except (ValueError, RuntimeError, TypeError, KeyError, AssertionError,
                AttributeError, NotImplementedError, IndexError):  # fmt: skip
            if name.startswith("tu-"):
                return None
    return None


def _likely(name: str, own: Shapes) -> bool:
    """Tell cheaply whether a network of timm may have some of these shapes."""
    if not name.startswith("tu-"):
        return True
    import torch

    timm = import_module("timm")
    try:
        with torch.device("meta"):
            whole = timm.create_model(name.removeprefix("tu-")).state_dict()
    except (ValueError, RuntimeError, TypeError, KeyError, AssertionError,
            AttributeError, NotImplementedError, IndexError):  # fmt: skip
        return False
    its = {key.replace(".", "_"): tuple(value.shape) for key, value in whole.items()}
    last = next(
        reversed(own)
    )  # its levels are called stages_0 where alone, or stages.0
    return its.get(last.removeprefix("model.").replace(".", "_")) == own[last]


def _fits(encoder: Any, own: Shapes) -> bool:
    """Tell whether an encoder has just these weights; older keys lack "model."."""
    its = {key: tuple(value.shape) for key, value in encoder.state_dict().items()}
    if its == own:
        return True
    return {key.removeprefix("model."): shape for key, shape in its.items()} == own
