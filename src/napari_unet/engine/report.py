"""What is said of a prediction, for the user."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import fastremap
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_unet.engine.config import LabelsConfig
    from napari_unet.engine.spec import ModelSpec

NOTHING = "nothing found: try a lower threshold, or check scaling and pixel size"
CONSTANT = "the image is constant, there is nothing to see in it"


@dataclass(frozen=True)
class Report:
    """All that is to be said beside what the labels hold.

    Attributes
    ----------
    seconds : that it took
    notes : sentences on how it went
    constant : whether there was nothing to see
    smallest : pixels that an object has at least by the model; None: not known
    """

    seconds: float
    notes: tuple[str, ...] = ()
    constant: bool = False
    smallest: int | None = None

    def of(
        self, labels: NDArray[np.int32], spec: ModelSpec, config: LabelsConfig
    ) -> str:
        """Return one line on labels that came of a model's scores in some way."""
        said = [f"{_found(labels, spec)} in {self.seconds:.1f} s", *self.notes]
        if spec.gives_objects and self.smallest and config.least == self.smallest:
            said.append(f"smaller than {self.smallest:,} pixels are left out")
        if self.constant:
            said.append(CONSTANT)
        elif not labels.any():
            said.append(NOTHING)
        return "; ".join(said)


def _found(labels: NDArray[np.int32], spec: ModelSpec) -> str:
    if not spec.gives_objects:
        present = np.count_nonzero(np.bincount(labels.ravel()))
        return f"{present} of {spec.architecture.out_channels} classes"
    count = np.count_nonzero(fastremap.unique(labels))
    return f"{count:,} object{'' if count == 1 else 's'}"
