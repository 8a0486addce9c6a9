"""What a package says of its model, in the same terms for all versions of its format.

References
----------
https://github.com/bioimage-io/spec-bioimage-io (versions 0.3, 0.4 and 0.5)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_unet.errors import CheckpointError
from napari_unet.formats.bioimageio import version4, version5
from napari_unet.formats.bioimageio.document import Malformed, items, mapping, words

if TYPE_CHECKING:
    from napari_unet.formats.bioimageio.tensors import Source, Tensor, WeightsFile

VERSION = re.compile(r"0\.([345])(\.\d{1,4})*\Z")
TOLD = ("description", "id", "version", "git_repo", "timestamp", "training_data")


@dataclass(frozen=True)
class Description:
    """A model's description.

    Attributes
    ----------
    version : of the format
    name : of the model
    inputs, outputs : its tensors
    weights : files by kind, such as "pytorch_state_dict"
    attachments : further files of the package
    provenance : who made it, licence, what to cite
    """

    version: str
    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: dict[str, WeightsFile]
    attachments: tuple[Source, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)


def describe(package: str, content: dict[str, Any]) -> Description:
    """Return what the mapping of an rdf.yaml says.

    Parameters
    ----------
    package : its name, for messages
    content : of the description

    Raises
    ------
    CheckpointError
        If it describes no model, or in a way that no version of the format allows.
    """
    kind = words(content.get("type"), 40) or "nothing"
    if kind != "model":
        raise CheckpointError(
            f"{package} describes a BioImage.IO {kind}, expected a model: choose "
            "another file."
        )
    said = words(content.get("format_version"), 20)
    version = VERSION.match(said)
    if version is None:
        raise CheckpointError(
            f"{package} is of BioImage.IO version {said or 'unknown'}, expected 0.3 to "
            "0.5: update this program, or convert the package."
        )
    reader = version5 if version[1] == "5" else version4
    try:
        return Description(
            version=said,
            name=words(content.get("name"), 128) or package.partition(".")[0],
            inputs=tuple(reader.inputs(content)),
            outputs=tuple(reader.outputs(content)),
            weights=reader.weights(content),
            attachments=reader.attachments(content),
            provenance=_provenance(content, said),
        )
    except Malformed as problem:
        raise CheckpointError(
            f"{package} describes its model in a way that cannot be followed "
            f"({problem}): check its description with the bioimageio command."
        ) from problem


def _provenance(content: dict[str, Any], version: str) -> dict[str, str]:
    """Return who made a model, under which licence, and what to cite."""
    said = {"format": f"BioImage.IO {version}"}
    said |= {name: words(content.get(name), 1024) for name in TOLD}
    data = content.get("training_data")
    if isinstance(data, dict):
        said["training_data"] = words(data.get("id") or data.get("name"))
    licence = content.get("license")
    source = licence.get("source") if isinstance(licence, dict) else licence
    said["licence"] = words(source)
    said["authors"] = _people(content.get("authors"))
    said["cite"] = _citations(content.get("cite"))
    return {name: text for name, text in said.items() if text}


def _people(value: object) -> str:
    found = []
    for one in items(value, "authors")[:50]:
        person = mapping(one, "author") if isinstance(one, dict) else {"name": one}
        place = words(person.get("affiliation"))
        found.append(words(person.get("name")) + (f" ({place})" if place else ""))
    return "; ".join(filter(None, found))


def _citations(value: object) -> str:
    found = []
    for one in items(value, "cite")[:50]:
        entry = mapping(one, "cite") if isinstance(one, dict) else {"text": one}
        where = words(entry.get("doi") or entry.get("url"))
        found.append(" ".join(filter(None, (words(entry.get("text")), where))))
    return "; ".join(filter(None, found))
