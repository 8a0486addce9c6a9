"""What is known of the open model can be changed; its weights and versions stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from monai.networks.nets import BasicUNet

from napari_unet.engine.config import FinetuneConfig
from napari_unet.engine.look import Look
from napari_unet.errors import UnetError
from napari_unet.jobs import run_now
from napari_unet.opened_model import Opening, OpenModel, Version
from napari_unet.session import Session
from napari_unet.steps import MOST_READINGS
from tiny import noise, tiny_model

if TYPE_CHECKING:
    from pathlib import Path

ZSCORE = {"normalization": {"kind": "zscore"}}


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A state dict whose kind of norm and activation cannot be read."""
    torch.manual_seed(0)
    network = BasicUNet(2, 1, 1, features=(4, 4, 8, 8, 8, 4))
    torch.save(network.state_dict(), tmp_path / "foreign.pth")
    return tmp_path / "foreign.pth"


def opened(path: Path) -> Session:
    session = Session()
    run_now(session.load_job(path, device="cpu"))
    return session


def test_changes_are_merged_and_later_ones_win() -> None:
    opening = Opening("a").changed({"normalization": {"kind": "scale"}, "output": "x"})
    changed = opening.changed({"normalization": {"divisor": 7.0}, "output": "y"})
    assert changed.changes == {
        "normalization": {"kind": "scale", "divisor": 7.0}, "output": "y",
    }  # fmt: skip
    assert Opening("a").changes == {}


def test_a_model_of_no_file_cannot_be_read_in_another_way() -> None:
    session = Session()
    session.set_model(tiny_model())
    with pytest.raises(UnetError, match="load the file first"):
        session.revise_model({"reading": "other"})


def test_versions_that_lead_in_circles_have_no_origin() -> None:
    circle = Version(2, tiny_model(), "", base=2, opening=None)
    with pytest.raises(UnetError, match="load the file first"):
        OpenModel([circle], current=2).reopening({"reading": "other"})


def test_numbers_go_on_after_those_that_were_given() -> None:
    versions = [Version(4, tiny_model(), "")]
    assert OpenModel(versions, current=4).highest == 4
    assert OpenModel(versions, current=4, highest=9).highest == 9


def test_a_change_that_comes_late_leaves_what_was_found_of_another_version() -> None:
    model = tiny_model()
    state = OpenModel([Version(1, model, ""), Version(2, model, "")], current=2)
    state.look = look = Look(reason="seen")
    state.put(1, model, {"output": "instances"})
    assert state.look is look
    state.put(2, model, {"output": "instances"})
    assert state.look is None


def test_a_changed_guess_is_used_at_once_and_counts_as_chosen(foreign: Path) -> None:
    session, told = opened(foreign), []
    network = session.model.network
    session.model_changed.connect(lambda: told.append(1))
    assert session.revise_model(ZSCORE) is None
    assert session.model.spec.normalization.kind == "zscore"
    assert session.model.spec.source("normalization") == "chosen"
    assert session.model.network is network
    assert (told, session.version.number) == ([1], 1)


def test_another_reading_opens_the_file_again_and_keeps_other_changes(
    foreign: Path,
) -> None:
    session = opened(foreign)
    spec = session.model.spec
    other = next(one for one in spec.readings if one != spec.reading)
    session.revise_model(ZSCORE)
    run_now(session.revise_model({"reading": other}))
    assert session.model.spec.reading == other
    assert session.model.spec.normalization.kind == "zscore"


def test_a_factor_in_the_network_is_changed_by_a_job(foreign: Path) -> None:
    session = opened(foreign)
    before = session.model
    run_now(session.revise_model({"architecture": {"input_scale": 0.5}}))
    assert session.model.spec.architecture.input_scale == 0.5
    assert session.model.spec.source("input_scaling") == "chosen"
    x = torch.from_numpy(noise((1, 1, 32, 32)))
    with torch.inference_mode():
        torch.testing.assert_close(session.model.network(x), before.network(x / 2))


def test_changes_that_do_not_fit_leave_the_model(foreign: Path) -> None:
    session = opened(foreign)
    before = session.model
    with pytest.raises(UnetError, match="do not fit"):
        session.revise_model({"classes": [{"name": "a"}, {"name": "b"}]})
    assert session.model is before


def test_nothing_can_be_changed_without_a_model() -> None:
    with pytest.raises(UnetError, match="No model is loaded"):
        Session().revise_model(ZSCORE)


def test_a_fine_tuned_version_cannot_be_read_in_another_way() -> None:
    session = Session()
    session.set_model(tiny_model(), opening=Opening("somewhere"))
    image = session.add_image("noise", noise((60, 70)), "YX")
    image.corrections.labels[5:30, 5:30] = 1
    image.corrections.stroke_ends()
    run_now(session.finetune_job(FinetuneConfig(steps=1, batch=1, crop=32)))
    session.keep()
    with pytest.raises(UnetError, match="restore version 1"):
        session.revise_model({"reading": "other"})
    session.revise_model(ZSCORE)
    first, second = session.versions
    assert first.model.spec.normalization.kind == "percentile"
    assert second.model.spec.normalization.kind == "zscore"


def test_a_look_tries_readings_and_is_forgotten_with_the_model(foreign: Path) -> None:
    session = opened(foreign)
    run_now(session.look_job("noise", noise((64, 64)), "YX"))
    tried = [finding for finding in session.look.findings if finding.changes]
    others = len(session.model.spec.readings) - 1
    readings = [finding for finding in tried if "reading" in finding.changes]
    assert len(readings) == min(others, MOST_READINGS) > 0
    session.revise_model(ZSCORE)
    assert session.look is None


def test_a_look_at_an_image_that_cannot_be_used_says_why(foreign: Path) -> None:
    session = opened(foreign)
    run_now(session.look_job("five", noise((5, 64, 64)), "CYX"))
    assert "5 channels" in session.look.sentence
    assert session.look.best is None


def test_a_look_that_comes_too_late_is_dropped(foreign: Path) -> None:
    session = opened(foreign)
    job = session.look_job("noise", noise((64, 64)), "YX")
    session.set_model(tiny_model())
    run_now(job)
    assert session.look is None


def test_what_was_opened_is_among_the_recent(foreign: Path) -> None:
    from napari_unet import zoo

    opened(foreign)
    assert zoo.recent_files()[0] == foreign
