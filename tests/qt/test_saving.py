"""Masks and pairs are written from the Correct panel, with where they come from."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog

from napari_unet.io.pairs import find_pairs
from tiny import nuclei

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hands import Hands


@pytest.fixture
def corrected(hands: Callable[..., Hands], tiny_files: dict[str, Path]) -> Hands:
    """A predicted image, all of it accepted."""
    person = hands()
    person.viewer.add_image(nuclei()[0], name="cells", scale=(0.5, 0.5))
    person.load(tiny_files["instances"])
    person.predict()
    person.press("correct.accept_slice")
    return person


def answer(monkeypatch: pytest.MonkeyPatch, dialog: str, *found: Any) -> None:
    monkeypatch.setattr(
        QFileDialog, dialog, lambda *_: found[0] if len(found) == 1 else found
    )


def test_masks_are_written_in_every_format(
    corrected: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in (".tif", ".png", ".ome.zarr", ".zip", ".json"):
        path = tmp_path / f"masks{suffix}"
        answer(monkeypatch, "getSaveFileName", str(path), "")
        corrected.press("correct.save")
        corrected.wait_idle()
        assert path.exists(), corrected.text("correct")
        assert corrected.text("correct") == f"Saved masks to {path}."


def test_a_name_without_ending_gets_that_of_the_chosen_format(
    corrected: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "COCO annotations, for machine learning (*.json)"
    answer(monkeypatch, "getSaveFileName", str(tmp_path / "masks"), kind)
    corrected.press("correct.save")
    corrected.wait_idle()
    said = json.loads((tmp_path / "masks.json").read_text())
    assert said["info"]["provenance"]["image"] == "cells"
    assert len(said["annotations"]) == len(np.unique(corrected.pixels)) - 1


def test_pairs_can_be_trained_on(
    corrected: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pairs"
    answer(monkeypatch, "getExistingDirectory", str(folder))
    corrected.press("correct.save_pairs")
    corrected.wait_idle()
    (pair,) = find_pairs(folder)
    image, labels = pair.read()
    np.testing.assert_array_equal(image, nuclei()[0])
    np.testing.assert_array_equal(labels, corrected.pixels)
    supervised = pair.read_supervised()
    assert supervised is not None
    assert supervised.all()


def test_a_folder_of_something_else_is_refused(
    corrected: Hands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    answer(monkeypatch, "getExistingDirectory", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # napari shows it as a notification
        corrected.press("correct.save_pairs")
        corrected.wait_idle()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert "an empty folder" in corrected.text("correct")
