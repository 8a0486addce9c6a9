"""What a session knows of how right predictions were before they were corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_unet.engine.progress import summarise
from napari_unet.session_places import PlacesSession

if TYPE_CHECKING:
    from napari_unet.engine.blocks import Region
    from napari_unet.engine.choosing import Place
    from napari_unet.engine.progress import By, Progress, Visit
    from napari_unet.opened import OpenImage


class ProgressSession(PlacesSession):
    """The places that were corrected for the first time, and what they tell.

    The places that the user chose are found by themselves, see ``engine.visits``.
    """

    progress_changed = Signal()  # visits began, or are over; strokes tell nothing here

    def __init__(self) -> None:
        super().__init__()
        self.place_reached.connect(self._on_place_reached)

    def _on_place_reached(self, opened: OpenImage, place: Place) -> None:
        self.begin_visit(opened, place.window)

    def begin_visit(self, opened: OpenImage, window: Region, by: By = "next") -> bool:
        """Take note that the user is led to a place; tell whether it is new.

        What stands there now is taken as what was predicted.

        Parameters
        ----------
        opened : the image
        window : slices over the axes of its labels
        by : who chose the place
        """
        opened.corrections.commit()
        version = self.version.number if self.version else 0
        begun = opened.corrections.visits.begin(window, by, version)
        self.progress_changed.emit()
        return begun

    def close_visits(self) -> None:
        """Make all scores final: what is corrected is now learnt from."""
        for opened in self.images:
            opened.corrections.commit()
            opened.corrections.visits.close()
        self.progress_changed.emit()

    @property
    def visits(self) -> list[Visit]:
        """Newly corrected places of all images, oldest first."""
        found = [
            visit for opened in self.images
            for visit in opened.corrections.visits.scored()
        ]  # fmt: skip
        open_now = {id(opened) for opened in self.images}
        for kept in self._project.images if self._project else ():
            if id(kept.opened) not in open_now:
                its = kept.corrections
                found += its.visits.scored() if its else kept.visits.scored
        return sorted(found, key=lambda visit: visit.made)

    @property
    def progress(self) -> Progress:
        """Curves of these places, and whether more strokes still pay."""
        return summarise(self.visits)

    def _note_prediction(self, opened: OpenImage, window: Region, version: int) -> None:
        """Take note that a version predicted; see ``Visits.note_prediction``."""
        opened.corrections.visits.note_prediction(window, version)
        self.progress_changed.emit()
