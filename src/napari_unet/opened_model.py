"""The model that is open: its versions, how its file was opened, what was found of it.

Imports no torch until something is to be computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_unet.errors import UnetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.look import Look
    from napari_unet.engine.model import Model


@dataclass(frozen=True)
class Version:
    """A model that the user kept; number 1 is the one that was loaded."""

    number: int
    model: Model
    note: str


@dataclass(frozen=True)
class Opening:
    """How a model was opened, so that the same file can be read in another way.

    Attributes
    ----------
    source : a path, the name of a bundled model, or an id of BioImage.IO
    device, trust : as for ``load_model``
    changes : what the user changed since, as for ``load_model(overrides=...)``
    """

    source: str
    device: str = "auto"
    trust: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    def changed(self, changes: Mapping[str, Any]) -> Opening:
        """Return the same with further changes, which win over earlier ones."""
        both = dict(self.changes)
        for key, value in changes.items():
            inner = both.get(key)
            if isinstance(inner, dict) and isinstance(value, dict):
                both[key] = {**inner, **value}
            else:
                both[key] = value
        return replace(self, changes=both)


@dataclass
class OpenModel:
    """All of the model that is open; replaced and changed only on the main thread.

    Attributes
    ----------
    versions : oldest first
    current : number of the one in use
    draft : a finished fine-tuning that is neither kept nor dropped
    opening : how version 1 was opened; None: it came from no file
    look : what a quick look at an image found of the version in use
    """

    versions: list[Version] = field(default_factory=list)
    current: int = 0
    draft: FinetuneResult | None = None
    opening: Opening | None = None
    look: Look | None = None

    @property
    def in_use(self) -> Version | None:
        """The version in use."""
        numbers = {version.number: version for version in self.versions}
        return numbers.get(self.current)

    def model_of(self, number: int | None = None) -> Model:
        """Return a version's model, that in use unless a number is given.

        Raises
        ------
        UnetError
            If there is none.
        """
        for version in self.versions:
            if version.number == (number or self.current):
                return version.model
        raise UnetError("No model is loaded: choose one in the Model panel first.")

    def use(self, number: int) -> None:
        """Make a version the one in use; what was found of another is forgotten."""
        self.model_of(number)
        self.current = number
        self.draft = self.look = None

    def use_earlier(self) -> None:
        """Go back a version."""
        earlier = [v.number for v in self.versions if v.number < self.current]
        if not earlier:
            raise UnetError(
                "This is the first version: there is nothing to go back to."
            )
        self.use(earlier[-1])

    def keep(self) -> None:
        """Make the draft a new version, and use it."""
        draft, base = self.draft, self.in_use
        if draft is None or base is None:
            raise UnetError(
                "There is no finished fine-tuning to keep: start one first."
            )
        number = self.versions[-1].number + 1
        provenance = {
            **draft.model.spec.provenance,
            f"version {number}": f"fine-tuned from version {base.number}: "
            f"{draft.summary}",
        }
        spec = draft.model.spec.model_copy(update={"provenance": provenance})
        model = replace(draft.model, spec=spec)
        self.versions.append(Version(number, model, draft.summary))
        self.use(number)

    def reopening(self, changes: Mapping[str, Any]) -> Opening:
        """Return how the file is to be opened to read its weights in another way.

        Raises
        ------
        UnetError
            If the version in use is not that of the file.
        """
        if self.opening is None or self.current != 1:
            raise UnetError(
                "The weights can be read in another way only as they were loaded: "
                "restore version 1 first."
            )
        return self.opening.changed(changes)

    @property
    def reopened(self) -> Opening | None:
        """How the file of the version in use was opened; None: it has no file."""
        return self.opening if self.current == 1 else None

    def put(self, number: int, model: Model, changes: Mapping[str, Any]) -> None:
        """Put a model of which something was changed in the place of a version."""
        self.versions = [
            replace(each, model=model) if each.number == number else each
            for each in self.versions
        ]
        if self.opening is not None and number == 1:
            self.opening = self.opening.changed(changes)
        self.look = None
