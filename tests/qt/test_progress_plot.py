"""The curves of newly corrected places, as a user sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
from qtpy.QtWidgets import QLabel

from napari_unet.qt.progress_plot import ProgressView
from tiny import nuclei

if TYPE_CHECKING:
    from pathlib import Path

    from hands import Hands

GREY = nuclei(288)[0]


def view_of(one: Hands) -> Any:
    return one.docks[0].findChild(ProgressView)


def curves(one: Hands) -> tuple[np.ndarray, np.ndarray]:
    """Return the means that are drawn: places the user chose, places Next chose."""
    its = view_of(one).plot.curves
    drawn = [its[name]._line.getData()[1] for name in ("user", "next")]
    empty = np.zeros(0)
    return tuple(empty if each is None else each for each in drawn)  # type: ignore[return-value]  # two


def place(row: int, column: int) -> tuple[slice, slice]:
    return (
        slice(96 * row, 96 * row + 96), slice(96 * column, 96 * column + 96),
    )  # fmt: skip


def mend(one: Hands, row: int, column: int) -> None:
    """Paint over the middle of a place and accept it."""
    one.labels.brush_size = 20
    one.labels.paint((96 * row + 48, 96 * column + 48), 5000 + 3 * row + column)
    one.bench.session.accept(one.bench.session.images[0], place(row, column))


def predicted(hands: Any, tiny_files: Any, tmp_path: Path) -> Hands:
    path = tmp_path / "nuclei.tif"
    iio.imwrite(path, GREY)
    one: Hands = hands()
    one.docks[0].steps["finetune"].expand(True)
    one.viewer.open(path, plugin="napari")
    one.load(tiny_files["instances"])
    one.predict()
    return one


def test_before_anything_counts_it_says_what_to_do(hands, tiny_files, tmp_path) -> None:
    one = predicted(hands, tiny_files, tmp_path)
    view = view_of(one)
    view.section.expand(animate=False)
    assert view.note.isVisible()
    assert "press Accept view" in view.note.text()
    assert [each.size for each in curves(one)] == [0, 0]
    assert not one.find("finetune.hint", QLabel).isVisible()


def test_corrected_places_make_two_curves_that_a_project_keeps(
    hands, tiny_files, tmp_path, projects
) -> None:
    one = predicted(hands, tiny_files, tmp_path)
    session = one.bench.session
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0)):
        mend(one, row, column)
    for column in (1, 2):
        session.begin_visit(session.images[0], place(1, column), by="next")
        mend(one, 1, column)
    one.wait(lambda: [each.size for each in curves(one)] == [4, 2])
    was = curves(one)
    assert all(0 < mean < 1 for each in was for mean in each)
    assert view_of(one).note.isHidden()

    one.wait_idle()
    one.wait(lambda: not session.unkept())
    folder = session.project.folder
    session.close_project()
    one.bench.leave(list(session.images))
    one.bench.desk.open(folder)
    one.wait(lambda: len(session.images) == 1 and one.bench.desk.idle)
    one.wait(lambda: [each.size for each in curves(one)] == [4, 2])
    for now, before in zip(curves(one), was, strict=True):
        np.testing.assert_allclose(now, before, atol=1e-4)


def test_a_place_of_which_little_is_known_is_drawn_hollow(
    hands, tiny_files, tmp_path
) -> None:
    one = predicted(hands, tiny_files, tmp_path)
    one.labels.brush_size = 20
    one.labels.paint((48, 48), 5000)
    its = view_of(one).plot.curves["user"]
    one.wait(lambda: its._hollow.getData()[1] is not None)
    assert curves(one)[0].size == 0


def test_the_hint_is_seen_without_unfolding(hands, tiny_files) -> None:
    one = hands()
    one.docks[0].steps["finetune"].expand(True)
    one.viewer.add_image(nuclei(384)[0], name="nuclei")
    one.load(tiny_files["instances"])
    one.predict()
    hint = one.find("finetune.hint", QLabel)
    assert (hint.isVisible(), hint.text()) == (False, "")
    session = one.bench.session
    session.accept(session.images[0], (slice(0, 384), slice(0, 384)))
    one.wait(hint.isVisible)
    assert hint.text().startswith("The last 8 places you chose were 1.00 right before")
    assert not view_of(one).section.isExpanded()
