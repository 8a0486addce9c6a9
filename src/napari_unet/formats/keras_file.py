"""Files of Keras 2 and 3: whole models and weights, without Keras or TensorFlow.

``.h5`` files are HDF5 with the network's description as an attribute, or without one
where only weights were saved; ``.keras`` files are zip archives of a description and
an HDF5 file. Layers of code are never run, nor decoded.

References
----------
Keras documentation: "Save, serialize, and export models".
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_unet.engine.builder import Misfit
from napari_unet.engine.model import Model
from napari_unet.engine.spec import ModelSpec, Normalization
from napari_unet.errors import CheckpointError
from napari_unet.formats import hdf5
from napari_unet.formats.families.choices import Choices
from napari_unet.formats.families.keras.config import net_of, parse
from napari_unet.formats.families.keras.graph import graph_of
from napari_unet.formats.families.keras.recipe import (
    PartWeights,
    net_from,
    parts_of,
    with_volume_kinds,
)
from napari_unet.formats.families.keras.stored import NamedWeights, NumberedWeights
from napari_unet.formats.reading import Reading
from napari_unet.formats.weights import assemble, check_weights

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.spec import Output, Source
    from napari_unet.formats.families.keras.graph import Found
    from napari_unet.formats.hdf5 import Hdf5

UNREADABLE = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError,
)  # fmt: skip
OF_TRAINING = re.compile(r"optimizer|seed_generator|top_level|metric|(^|/)_?loss")
ZIP = b"PK\x03\x04"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MOST_MEMBERS = 1000
PACKED_AT_MOST = 32  # times that a member may be larger than the archive
SPARE = 1 << 20  # bytes; small archives may pack better
NUMBERED_SINCE = 3  # Keras 2 kept weights by name


@dataclass
class _Facts:
    """What is known of a file beside its network."""

    name: str
    title: str
    version: str = ""
    training: str = ""
    wanted: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def major(self) -> int:
        """Keras' version as far as it matters for how a layer computes."""
        match = re.match(r"(\d)\.", self.version)
        return int(match[1]) if match else NUMBERED_SINCE


def matches(path: Path, head: bytes) -> bool:
    """Tell whether a file is HDF5, or a zip archive as Keras 3 writes."""
    if head.startswith(hdf5.MAGIC):
        return True
    if not head.startswith(ZIP):
        return False
    if path.suffix.lower() == ".keras":
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return {CONFIG, WEIGHTS} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def load(path: Path, wanted: str = "") -> Model:
    """Open a file of Keras; nothing in it is executed.

    Parameters
    ----------
    path : .h5, .hdf5, .weights.h5 or .keras
    wanted : the reading that the user asks for, "" for the likeliest

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds no U-Net that can be computed here.
    """
    reading = read(path, wanted)
    check_weights(path.name, reading.weights)
    network = assemble(reading.spec.architecture, reading.weights, path.name)
    return Model(network, reading.spec)


def read(path: Path, wanted: str = "") -> Reading:
    """Return how a file of Keras is understood; see ``load``."""
    facts = _Facts(path.name, path.stem.removesuffix(".weights"), wanted=wanted)
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == ZIP
        return _archive(path, facts) if zipped else _h5(path, facts)
    except Misfit as misfit:
        raise CheckpointError(
            f"{path.name} is a file of Keras, but {misfit}; expected a U-Net of Keras' "
            "own layers: save such a model, or choose another file."
        ) from misfit


# -- containers


def _archive(path: Path, facts: _Facts) -> Reading:
    """Read a ``.keras`` archive."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            names = _checked(archive, path.name, size)
            config = _text(archive, CONFIG)
            if METADATA in names:
                metadata = parse(_text(archive, METADATA))
                facts.version = str(metadata.get("keras_version", ""))
            weights = archive.read(WEIGHTS)  # zipfile compares the checksum
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path.name} is damaged or cut short ({error}); expected a whole .keras "
            "file: copy it again."
        ) from error
    described = parse(config)
    facts.training = str(described.get("compile_config") or "")
    with hdf5.opened(weights, path.name) as h5:
        return _described(h5, described, "", facts)


def _checked(archive: zipfile.ZipFile, name: str, size: int) -> set[str]:
    """Refuse an archive that is not Keras', or far larger than its file."""
    members = archive.infolist()
    names = {member.filename for member in members}
    stated = sum(member.file_size for member in members)
    if len(members) > MOST_MEMBERS or stated > PACKED_AT_MOST * size + SPARE:
        raise CheckpointError(
            f"{name} states {stated:,} bytes in {len(members):,} members and holds "
            f"{size:,}: it is damaged or made to harm, copy it again."
        )
    for wanted in (CONFIG, WEIGHTS):
        if wanted not in names:
            raise CheckpointError(
                f"{name} holds no {wanted}, expected a .keras file with one HDF5 file "
                "of weights: save it again with model.save()."
            )
    if any(member.flag_bits & 1 for member in members):
        raise CheckpointError(f"{name} is encrypted, expected an open file: unpack it.")
    return names


def _text(archive: zipfile.ZipFile, name: str) -> str:
    return archive.read(name).decode("utf-8", "replace")


def _h5(path: Path, facts: _Facts) -> Reading:
    """Read an HDF5 file: a whole model, or weights alone."""
    with hdf5.opened(path, path.name) as h5:
        root = "model_weights" if "model_weights" in h5.texts else ""
        version = h5.text("", "keras_version") or h5.text(root, "keras_version")
        facts.version = version or ""
        facts.training = h5.text("", "training_config") or ""
        config = h5.text("", "model_config")
        if config is not None:
            return _described(h5, parse(config), root, facts)
        parts = parts_of(h5)
        if parts is None:
            raise CheckpointError(
                f"{path.name} is an HDF5 file without layers of Keras, expected a "
                "model or its weights: choose another file."
            )
        choices = Choices(facts.wanted)
        net = net_from(parts, choices)
        dims = next(p.kernel.ndim - 2 for p in parts if p.kind == "conv")
        found = graph_of(with_volume_kinds(net, dims), PartWeights(parts), facts.major)
        _check_taken(h5, root)
        facts.fields = choices.fields()
        return _reading(found, facts)


def _described(h5: Hdf5, described: Any, root: str, facts: _Facts) -> Reading:
    net = net_of(described)
    by_name = h5.names(root, "layer_names") is not None
    stored = NamedWeights(h5, root) if by_name else NumberedWeights(h5, net)
    found = graph_of(net, stored, facts.major)
    if not found.others:  # a further output has weights of its own
        _check_taken(h5, root)
    return _reading(found, facts)


def _check_taken(h5: Hdf5, root: str) -> None:
    """Refuse weights that no layer takes; what training stores is not one."""
    for path in h5.shapes:
        inside = path.startswith(f"{root}/" if root else "")
        if inside and path not in h5.taken and not OF_TRAINING.search(path):
            raise Misfit(f"no layer takes its weight {path[:80]!r}")


# -- what it means


def _reading(found: Found, facts: _Facts) -> Reading:
    """Return the spec of a network, and its weights."""
    described = not facts.fields
    sources: dict[str, Source] = {
        "architecture": "read" if described else "inferred",
        "activation": "read" if described else "guessed",
        "output": "inferred" if described else "guessed",
        "normalization": "inferred" if found.scaled else "guessed",
        "channel_order": "guessed",
        "pixel_size": "guessed",
    }
    if found.scaled:
        sources["input_scaling"] = "guessed" if found.lambdas else "read"
        normalization = Normalization(kind="none")
    else:
        normalization = Normalization(kind="scale", divisor=255.0)
    version = {"keras_version": facts.version[:40]} if facts.version else {}
    spec = ModelSpec(
        name=facts.title,
        architecture=found.graph,
        output=_output(found),
        activation=found.activation,
        normalization=normalization,
        sources=sources,
        remarks=(*facts.fields.pop("remarks", ()), *_remarks(found, facts, described)),
        provenance=version,
        **facts.fields,
    )
    return Reading(spec, found.weights)


def _output(found: Found) -> Output:
    """Return what the channels most likely mean."""
    channels = found.graph.out_channels
    if channels == 1:
        return "foreground"
    if found.activation == "sigmoid":
        return "multilabel"
    two = channels == 2 and found.activation == "softmax"
    return "foreground" if two else "classes"


def _remarks(found: Found, facts: _Facts, described: bool) -> list[str]:
    said = []
    for name in found.lambdas:
        why = "holds Python code, which is never run"
        if not described:
            why = "has numbers or code that the weights alone do not tell"
        said.append(
            f"the layer {name[:80]!r} {why}; in its place intensities are divided by "
            "255, which is a guess"
        )
    if found.others:
        plural = "s" if found.others > 1 else ""
        said.append(f"{found.others} further output{plural} left out")
    if found.activation == "none" and "from_logits': True" in _plain(facts.training):
        said.append("it was trained on logits: its scores lack a final activation")
    return said


def _plain(text: str) -> str:
    """Return JSON or Python's way of writing it in one way."""
    return text.replace('"', "'").replace("true", "True")
