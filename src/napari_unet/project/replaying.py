"""Repeating the fine-tunings of a project, which is only read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_unet.engine.drain import drain
from napari_unet.errors import ImageError, ProjectError, UnetError
from napari_unet.io.fingerprint import fingerprint_steps
from napari_unet.io.images import read_image
from napari_unet.io.labels_store import read_image as read_stored
from napari_unet.io.project import place_of, read_manifest, stored_image_path
from napari_unet.io.recipes import read_recipe, recipe_path
from napari_unet.learning import memory_of
from napari_unet.project.kept_image import STORED_IMAGE
from napari_unet.project.restoring import version_steps

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_unet.engine.model import Model
    from napari_unet.engine.recipe import Account, Machine, TaughtImage
    from napari_unet.engine.teaching import Memory
    from napari_unet.io.project import ImageEntry, VersionEntry
    from napari_unet.repeating import Larder


@dataclass(frozen=True)
class Replayed:
    """What came of repeating one fine-tuning.

    Attributes
    ----------
    version : its number
    same : whether all weights are those of the version, to the bit
    largest_difference : of a weight; None: there is nothing to compare with
    steps : that were made
    seconds : that it took
    device, threads : that computed
    why : "" or what is likely to be the reason for a difference, one clause
    """

    version: int
    same: bool
    largest_difference: float | None
    steps: int
    seconds: float
    device: str
    threads: int
    why: str = ""


class Replay:
    """The fine-tunings of a project, to be repeated; nothing is written.

    Parameters
    ----------
    folder : of the project
    device : that shall compute; None: the one that did

    Raises
    ------
    ProjectError
        If that is no project.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self.folder = folder.expanduser().absolute()
        self.device = device
        manifest = read_manifest(self.folder)
        self._versions = {each.number: each for each in manifest.versions}
        self._images = manifest.images
        self._read: dict[str, NDArray[Any]] = {}
        self._opened: dict[tuple[int, str], Model] = {}
        self._memories: dict[str, Memory | None] = {}

    def numbers(self, asked: int | None = None) -> list[int]:
        """Return the versions that were fine-tuned, oldest first.

        Parameters
        ----------
        asked : only this one; None: all

        Raises
        ------
        ProjectError
            If there is no such version, or it was loaded.
        """
        found = sorted(n for n, v in self._versions.items() if v.base is not None)
        if asked is None:
            return found
        if asked not in found:
            what = "was loaded" if asked in self._versions else "is not there"
            there = ", ".join(map(str, found)) or "none"
            raise ProjectError(
                f"Version {asked} {what}, expected one that was fine-tuned ({there}): "
                "choose one of these."
            )
        return [asked]

    def steps(self, number: int) -> Generator[Any, Any, Replayed]:
        """Repeat a fine-tuning.

        Parameters
        ----------
        number : of the version that it made

        Yields
        ------
        StepDone, EpochDone

        Returns
        -------
        Replayed
            Also where it could not be repeated.
        """
        began = time.perf_counter()
        try:
            return (yield from self._steps(number, began))
        except UnetError as error:
            seconds = time.perf_counter() - began
            why = str(error).rstrip(".")
            device = self.device or ""
            return Replayed(number, False, None, 0, seconds, device, 0, why)

    def _steps(self, number: int, began: float) -> Generator[Any, Any, Replayed]:
        from napari_unet.recording import holds, machine_of
        from napari_unet.repeating import repeat_steps

        entry = self._versions[number]
        if not entry.recipe:
            raise ProjectError("it was not written down how it was fine-tuned")
        recipe = read_recipe(recipe_path(self.folder, number))
        account = recipe.account
        device = self._device(account)
        result = yield from repeat_steps(recipe, self._larder(device))
        seconds = time.perf_counter() - began
        stored = self._version(number, device)
        recorded = holds(result.model, account.weights, account.elder)
        largest = largest_difference(result.model, stored)
        now = machine_of(result.model)
        threads = account.machine.threads  # it was made to use as many
        now = now.model_copy(update={"threads": threads})
        why = ""
        if largest != 0:
            why = _why(account.machine, now, recorded=recorded)
        return Replayed(
            number, largest == 0, largest, result.steps, seconds, now.device, threads,
            why,
        )  # fmt: skip

    def _device(self, account: Account) -> str:
        """Return the device that shall compute."""
        from napari_unet.engine.device import choose_device
        from napari_unet.errors import DeviceError

        wanted = self.device or account.machine.device
        try:
            return str(choose_device(wanted))
        except DeviceError as error:
            if self.device:
                raise
            raise DeviceError(
                f"it was fine-tuned on {wanted}, which is not here: add --device cpu "
                "to repeat it nearly"
            ) from error

    # -- what a recipe only names

    def _larder(self, device: str) -> Larder:
        from napari_unet.repeating import Larder

        return Larder(
            lambda number: self._version(number, device), self._image, self._memory
        )

    def _version(self, number: int, device: str) -> Model:
        if (number, device) not in self._opened:
            entry: VersionEntry | None = self._versions.get(number)
            if entry is None:
                raise ProjectError(
                    f"version {number}, from which it learnt, was deleted"
                )
            version = drain(version_steps(self.folder, entry, device))
            self._opened[number, device] = version.model
        return self._opened[number, device]

    def _image(self, noted: TaughtImage) -> NDArray[Any]:
        """Return an image, whose pixels must be those that were learnt from."""
        if noted.fingerprint in self._read:
            return self._read[noted.fingerprint]
        images = [e for e in self._images if e.fingerprint == noted.fingerprint]
        images = images or [e for e in self._images if e.name == noted.name]
        if not images:
            raise ProjectError(f"the image {noted.name} is no longer in the project")
        found = _pixels(self.folder, images[0])
        if drain(fingerprint_steps(found)) != noted.fingerprint:
            raise ImageError(
                f"the pixels of the image {noted.name} differ from those that were "
                "learnt from: bring the unchanged image back"
            )
        self._read[noted.fingerprint] = found
        return found

    def _memory(self, name: str) -> Memory | None:
        if name not in self._memories:
            self._memories[name] = memory_of(name)
        return self._memories[name]


def _pixels(folder: Path, entry: ImageEntry) -> NDArray[Any]:
    """Return the pixels of an image, as far as that can be without napari."""
    if entry.stored and entry.nbytes <= STORED_IMAGE:
        place = stored_image_path(folder, entry.id)
        stored = read_stored(place, entry.shape, entry.dtype)
        if stored is not None:
            return stored
    path = place_of(entry, folder)
    if path is None:
        raise ImageError(
            f"the image {entry.name} came from no file and is not in the project"
        )
    try:
        image = read_image(path)
    except ImageError as error:
        raise ImageError(f"the image {entry.name} cannot be read: {error}") from error
    if image.ndim < 2:
        raise ImageError(f"{path} is no image: bring {entry.name} back")
    return image


def largest_difference(one: Model, other: Model) -> float:
    """Return by how much two weights of one name differ at most; not below 0.

    Where a weight is no number, or there are others, that is infinite. The network that
    stays with images of the loaded model's kind is compared, too.
    """
    import torch

    old, new = (_all_weights(each) for each in (other, one))
    if {k: v.shape for k, v in old.items()} != {k: v.shape for k, v in new.items()}:
        return float("inf")
    largest = 0.0
    for key, value in new.items():
        there = old[key].to(value.device)
        if not torch.equal(value, there):
            apart = float((value.double() - there.double()).abs().max())
            largest = max(largest, apart if apart > 0 else float("inf"))
    return largest


def _all_weights(model: Model) -> dict[str, Tensor]:
    beside = {} if model.elder is None else model.elder.network.state_dict()
    named = {f"elder.{key}": value for key, value in beside.items()}
    return {**model.network.state_dict(), **named}


def _why(then: Machine, now: Machine, *, recorded: bool) -> str:
    """Return what is likely to be the reason for a difference."""
    if recorded:
        return (
            "the weights that are kept are not those that its fine-tuning came to, "
            "and repeating it comes to those"
        )
    names = {
        "device": "device", "processor": "processor", "dtype": "number format",
        "torch": "torch", "program": "version of this program",
    }  # fmt: skip
    other = [
        f"{name} {getattr(now, key)} instead of {getattr(then, key)}"
        for key, name in names.items()
        if getattr(now, key) != getattr(then, key)
    ]
    if other:
        return f"it was computed with {', '.join(other)}"
    if now.device != "cpu":
        return f"{now.device} does not always add in the same order"
    return "device, threads and versions are the same, so the reason is not known"
