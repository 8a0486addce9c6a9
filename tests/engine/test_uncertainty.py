"""Doubt of scores of every kind, what is wrong, flips, and when doubt means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_unet.engine.grid import grid_over
from napari_unet.engine.uncertainty import (
    edges,
    flip_disagreement,
    foreground,
    survey,
    trust_in,
    unsure,
)
from tiny import noise, nuclei, tiny_model

if TYPE_CHECKING:
    from napari_unet.engine.spec import Output

SURE, DOUBTFUL = (0, 0), (0, 1)  # pixels of the scores below
SCORES: dict[str, list[list[float]]] = {
    "instances": [[0.99, 0.5], [1.0, 0.5]],
    "foreground": [[0.01, 0.5]],
    "classes": [[0.98, 0.34], [0.01, 0.33], [0.01, 0.33]],
    "multilabel": [[0.99, 0.5], [0.01, 0.99]],
}


@pytest.mark.parametrize("output", SCORES)
def test_even_scores_are_in_doubt_and_decided_ones_are_not(output: Output) -> None:
    scores = np.array(SCORES[output], np.float16)[:, np.newaxis]
    doubt = unsure(scores, output)
    assert doubt.shape == (1, 2)
    assert doubt[SURE] < 0.15
    assert doubt[DOUBTFUL] > 0.98
    assert doubt.max() <= 1


@pytest.mark.parametrize("output", SCORES)
def test_raw_values_of_a_model_without_activation_give_numbers(output: Output) -> None:
    raw = np.array([[[-9.0, 40.0]], [[0.0, 3.0]]], np.float32)
    scores = raw[:1] if output == "foreground" else raw
    assert np.isfinite(unsure(scores, output)).all()
    assert foreground(scores, output).min() >= 0


def test_doubt_is_trusted_where_it_lies_on_edges() -> None:
    image, labels = nuclei(192)
    edge = edges(image.astype(np.float32))[1]
    at_edges = gaussian_filter((labels > 0).astype(np.float32), 2)
    apart = 1 - edge / edge.max()
    assert trust_in(unsure(at_edges[np.newaxis], "foreground"), edge) > 0.8
    assert trust_in(apart.astype(np.float32), edge) == 0.0
    assert trust_in(np.zeros_like(edge), edge) == 0.0


def test_a_survey_finds_the_planted_doubt() -> None:
    image = noise((1, 192, 288))
    scores = np.zeros((1, 192, 288), np.float32)
    scores[0, 96:, 192:] = 0.5
    grid = grid_over((192, 288))
    found = survey(image, scores, "foreground", grid)
    assert grid.windows[int(found.unsure.argmax())] == (slice(96, 192), slice(192, 288))
    assert len(found.looks) == len(found.structure) == len(grid.windows)
    assert np.isfinite(found.looks).all()


@pytest.mark.parametrize("output", ["instances", "foreground", "classes"])
@pytest.mark.parametrize("shape", [(50, 70), (9, 40, 36)])
def test_flips_disagree_for_a_network_that_is_not_symmetric(
    output: Output, shape: tuple[int, ...]
) -> None:
    model = tiny_model(output, dims=len(shape))
    spread = flip_disagreement(model, noise((1, *shape)) / 1000)
    assert spread.shape == shape
    assert 0 < spread.max() <= 1
