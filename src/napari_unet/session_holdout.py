"""The part of the session about what is held out to score results honestly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_unet.engine.holdout import SHARE, Sites, needed, reach_of, unassigned
from napari_unet.engine.sites import Fresh, give_roles
from napari_unet.engine.zoom import zoom_for
from napari_unet.errors import ImageError
from napari_unet.session_project import ProjectSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_unet.engine.model import Model
    from napari_unet.engine.zoom import Zoom
    from napari_unet.opened import OpenImage
    from napari_unet.project.open_project import OpenProject


class HoldoutSession(ProjectSession):
    """A held-out set, chosen when a place is first corrected, and kept for ever.

    Attributes
    ----------
    held_out_share : of the corrected places to hold out, 0 to 0.5; concerns new ones
        only
    kinds : images that the last fine-tuning told apart, which different networks learn
        from: of each kind, something is to be held out
    """

    roles_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.held_out_share = SHARE
        self.kinds: tuple[tuple[OpenImage, ...], ...] = ()

    def assign_roles(self) -> None:
        """Give roles to what is newly corrected, in all images of the model's kind.

        Called whenever the project takes what happened, and before a fine-tuning, after
        its snapshots are taken. Without a model that can learn it waits: no receptive
        field is known.
        """
        fresh = self._fresh()
        if not fresh:
            return
        reach, share = self.reach(), self.held_out_share
        for together, sites in self._taking_turns(list(fresh)):
            some = [fresh[opened] for opened in together]
            given = give_roles(some, reach, share=share, sites=sites)
            for opened, roles in zip(together, given, strict=True):
                opened.roles = roles
        self.roles_changed.emit()

    def _taking_turns(
        self, fresh: Sequence[OpenImage]
    ) -> list[tuple[list[OpenImage], Sites]]:
        """Return images whose places take turns at being held out, and those there are.

        Of which kind an image is that nobody learnt from yet is not known.
        """
        found = [
            ([each for each in fresh if each in kind], _sites_of(kind))
            for kind in self.kinds
        ]
        told = [each for kind in self.kinds for each in kind]
        found.append(([each for each in fresh if each not in told], self.sites()))
        return found

    def _fresh(self) -> dict[OpenImage, Fresh]:
        """Return what is newly corrected, of the kind that the model gives."""
        found: dict[OpenImage, Fresh] = {}
        if self.model is None or not self.model.trainable:
            return found
        for opened in self.images:
            its = opened.corrections
            if (its.dims, its.instances) != self._kind():
                continue
            its.checkpoint()
            blocks = unassigned(its, opened.roles)
            if len(blocks):
                found[opened] = Fresh(opened.roles, blocks, its.shape, its.dims)
        return found

    def reach(self, images: Sequence[OpenImage] | None = None) -> float:
        """Return the pixels of the model's receptive field, see ``reach_of``.

        Parameters
        ----------
        images : the largest in these; None: in all

        Raises
        ------
        UnetError
            If no model is loaded.
        """
        model = self._state.model_of()
        among = self.images if images is None else images
        sizes = {opened.pixel_size for opened in among} | {None}
        return max(reach_of(model.network, _zoom(model, size)) for size in sizes)

    def sites(self) -> Sites:
        """Return how many corrected places learn and are held out.

        Images of the project that are not open count too.
        """
        total = _sites_of(self.images)
        here = {id(opened) for opened in self.images}
        for kept in self.project.images if self.project else ():
            if id(kept.opened) not in here:
                total = total.plus(kept.sites)
        return total

    def needed_to_score(self) -> str:
        """Return one sentence on what is to be corrected until something is held out.

        Raises
        ------
        UnetError
            If no model is loaded.
        """
        reach = self.reach()
        shapes = [opened.corrections.shape for opened in self.images]
        return needed(self.sites(), self.held_out_share, reach, shapes, self._kind()[0])

    def _gather(self) -> OpenProject | None:
        self.assign_roles()  # first: they are written together with what has them
        return super()._gather()


def _sites_of(images: Iterable[OpenImage]) -> Sites:
    total = Sites()
    for opened in images:
        total = total.plus(opened.roles.sites)
    return total


def _zoom(model: Model, pixel_size: tuple[float, ...] | None) -> Zoom | None:
    try:
        return zoom_for(model.spec, pixel_size)
    except ImageError:  # said where the image is predicted
        return None
