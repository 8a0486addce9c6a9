"""The model that is open: its versions, how its file was opened, what was found of it.

Imports no torch until something is to be computed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet.errors import UnetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_unet.engine.finetune import FinetuneResult
    from napari_unet.engine.look import Look
    from napari_unet.engine.model import Model
    from napari_unet.engine.recipe import Recipe


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


@dataclass(eq=False)
class KeptRecipe:
    """A recipe that lies in a project; nobody needs it in memory.

    Attributes
    ----------
    path : of its file; another one when the project moves
    """

    path: Path


@dataclass(frozen=True)
class Version:
    """A model of the list: one that was loaded, or a fine-tuning that was kept.

    Attributes
    ----------
    number : never given twice in one list
    model : of this version
    note : where it is from, or what its fine-tuning brought
    made : seconds since the epoch
    metric : held-out AP at an IoU of 0.5 where it gives objects, else Dice, both after
        its fine-tuning; None: it was loaded, or there was too little to hold out
    strokes : steps made by hand that its fine-tuning learnt from
    opening : how its file was opened; None: it came from no file
    base : number of the version that its fine-tuning started from; None: loaded
    recipe : how its fine-tuning can be repeated, or where that is kept; None: it was
        loaded, or nobody knows
    """

    number: int
    model: Model
    note: str
    made: float = field(default_factory=time.time)
    metric: float | None = None
    strokes: int = 0
    opening: Opening | None = None
    base: int | None = None
    recipe: Recipe | KeptRecipe | None = field(default=None, compare=False, repr=False)


@dataclass
class OpenModel:
    """All of the model that is open; replaced and changed only on the main thread.

    Attributes
    ----------
    versions : oldest first
    current : number of the one in use
    draft : a finished fine-tuning that is neither kept nor dropped
    look : what a quick look at an image found of the version in use
    learnt_from : steps made by hand that the last fine-tuning learns from
    begun_from : number of the version that it started from; 0: the one in use
    highest : number ever given, also to a version that was deleted
    """

    versions: list[Version] = field(default_factory=list)
    current: int = 0
    draft: FinetuneResult | None = None
    look: Look | None = None
    learnt_from: int = 0
    begun_from: int = 0
    highest: int = 0
    _spare: tuple[FinetuneResult, Version] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Give no number again."""
        numbers = [version.number for version in self.versions]
        self.highest = max([self.highest, *numbers])

    @property
    def in_use(self) -> Version | None:
        """The version in use."""
        return self._find(self.current)

    def _find(self, number: int | None) -> Version | None:
        return next((each for each in self.versions if each.number == number), None)

    def model_of(self, number: int | None = None) -> Model:
        """Return a version's model, that in use unless a number is given.

        Raises
        ------
        UnetError
            If there is none.
        """
        version = self._find(number or self.current)
        if version is not None:
            return version.model
        if not self.versions:
            raise UnetError("No model is loaded: choose one in the Model panel first.")
        numbers = ", ".join(str(each.number) for each in self.versions)
        raise UnetError(
            f"There is no version {number}, expected one of {numbers}: choose one in "
            "the Versions panel."
        )

    def use(self, number: int) -> None:
        """Make a version the one in use; what was found of another is forgotten.

        A fine-tuning that is neither kept nor dropped becomes a version, not in use.
        """
        self.model_of(number)
        self.set_aside()
        self.current = number
        self.look = None

    def use_earlier(self) -> None:
        """Go back to the version that the one in use was made from, or came after."""
        version = self.in_use
        earlier = [v.number for v in self.versions if v.number < self.current]
        if version is None or not earlier:
            raise UnetError(
                "This is the first version: there is nothing to go back to."
            )
        self.use(version.base if version.base in earlier else earlier[-1])

    # -- the list

    def begins(self, strokes: int) -> None:
        """Take note that a fine-tuning of the version in use begins.

        Parameters
        ----------
        strokes : steps made by hand that it learns from
        """
        self.learnt_from, self.begun_from = strokes, self.current

    def ends(self, draft: FinetuneResult, base: int, strokes: int) -> None:
        """Take a finished fine-tuning as the draft.

        Parameters
        ----------
        draft : what came of it
        base : number of the version that it started from; another one may be in use by
            now
        strokes : steps made by hand that it learnt from
        """
        self.draft, self.begun_from, self.learnt_from = draft, base, strokes

    def keep(self) -> None:
        """Make the draft a new version, and use it."""
        if self.draft is None or self.in_use is None:
            raise UnetError(
                "There is no finished fine-tuning to keep: start one first."
            )
        self._take(self._version_of(self.draft, self.draft.summary))
        self.use(self.highest)

    def drop(self) -> None:
        """Forget the draft."""
        self.draft, self.begun_from = None, 0

    def draft_model(self) -> Model | None:
        """Return the draft's model if it was made from the version in use."""
        if self.draft is None or self.begun_from not in (0, self.current):
            return None
        return self.draft.model

    def set_aside(self) -> None:
        """Make the draft, if there is one, a version that is not in use."""
        if self.draft is not None:
            self._take(self.to_keep[-1])

    @property
    def to_keep(self) -> list[Version]:
        """All versions, and the draft as one not chosen: a crash shall not take it."""
        draft = self.draft
        if draft is None:
            return list(self.versions)
        if self._spare is None or self._spare[0] is not draft:  # the same each time
            version = self._version_of(draft, f"not chosen: {draft.summary}")
            self._spare = draft, version
        return [*self.versions, self._spare[1]]

    def _take(self, version: Version) -> None:
        """Put what was the draft into the list."""
        self._add(version)
        self.drop()

    def _version_of(self, draft: FinetuneResult, note: str) -> Version:
        base, number = self.begun_from or self.current, self.highest + 1
        provenance = {
            **draft.model.spec.provenance,
            f"version {number}": f"fine-tuned from version {base}: {draft.summary}",
        }
        spec = draft.model.spec.model_copy(update={"provenance": provenance})
        metric = draft.after["ap50" if spec.gives_objects else "dice"]
        return Version(
            number, replace(draft.model, spec=spec), note,
            metric=metric if draft.honest else None,
            strokes=self.learnt_from, base=base, recipe=draft.recipe,
        )  # fmt: skip

    def _add(self, version: Version) -> None:
        self.versions.append(version)
        self.highest = version.number

    def add_loaded(self, model: Model, note: str, opening: Opening | None) -> None:
        """Make a loaded model the next version, and use it; nothing kept is lost.

        Parameters
        ----------
        model : just loaded
        note : on where it is from
        opening : how its file was opened
        """
        self.set_aside()
        name = Path(opening.source).name if opening else model.spec.name
        number = self.highest + 1
        self._add(Version(number, model, f"{name} {note}", opening=opening))
        self.use(number)

    def delete(self, number: int) -> None:
        """Take a version out of the list; its number is not given again.

        Raises
        ------
        UnetError
            If there is none, or it is in use.
        """
        self.model_of(number)
        if number == self.current:
            raise UnetError(
                f"Version {number} is in use and cannot be deleted: restore another "
                "version first."
            )
        self.versions = [each for each in self.versions if each.number != number]

    # -- how a version's file was opened

    def reopening(self, changes: Mapping[str, Any]) -> Opening:
        """Return how the file is to be opened to read its weights in another way.

        Raises
        ------
        UnetError
            If the version in use is not that of a file.
        """
        if self.reopened is not None:
            return self.reopened.changed(changes)
        origin = self.origin()
        remedy = f"restore version {origin.number}" if origin else "load the file"
        raise UnetError(
            "The weights can be read in another way only as they were loaded: "
            f"{remedy} first."
        )

    def origin(self) -> Version | None:
        """Return the loaded version that the one in use was fine-tuned from."""
        version = self.in_use
        while version is not None and version.base is not None:
            earlier = version.base < version.number  # else a file would lead in circles
            version = self._find(version.base) if earlier else None
        return version if version is not None and version.opening else None

    @property
    def reopened(self) -> Opening | None:
        """How the file of the version in use was opened; None: it has no file."""
        version = self.in_use
        return version.opening if version else None

    def put(self, number: int, model: Model, changes: Mapping[str, Any]) -> None:
        """Put a model of which something was changed in the place of a version."""

        def changed(version: Version) -> Version:
            opening = version.opening.changed(changes) if version.opening else None
            return replace(version, model=model, opening=opening)

        self.versions = [
            changed(each) if each.number == number else each for each in self.versions
        ]
        if number == self.current:
            self.look = None
