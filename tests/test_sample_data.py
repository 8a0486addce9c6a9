"""Sample images: real ones, and synthetic nuclei with their truth."""

from __future__ import annotations

import hashlib
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING

import cc3d
import numpy as np
import pytest
import tifffile

from napari_unet import sample_data
from napari_unet.errors import UnetError
from napari_unet.sample_data import Optics, synthesize, synthesize_time

if TYPE_CHECKING:
    from pathlib import Path


def made(seed: int = 0, **changes: float) -> sample_data.SyntheticNuclei:
    return synthesize((160, 192), np.random.default_rng(seed), **changes)


def test_same_seed_gives_the_same_nuclei_and_another_seed_others() -> None:
    first, again, other = made(1), made(1), made(2)

    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


def test_image_and_labels_have_the_asked_shape_and_types() -> None:
    rng = np.random.default_rng(0)
    nuclei = synthesize((16, 64, 80), rng, optics=Optics(dtype="uint16"))

    assert nuclei.image.shape == nuclei.labels.shape == (16, 64, 80)
    assert (nuclei.image.dtype, nuclei.labels.dtype) == (np.uint16, np.int32)


def test_labels_are_one_to_n_and_each_is_one_piece() -> None:
    for seed in range(5):
        labels = made(seed).labels
        ids = np.unique(labels)

        pieces = cc3d.connected_components(labels, connectivity=8)

        np.testing.assert_array_equal(ids, np.arange(len(ids)))
        assert pieces.max() == len(ids) - 1


def test_nuclei_are_brighter_than_what_surrounds_them() -> None:
    nuclei = made(3)

    background = nuclei.image[nuclei.labels == 0]

    for label in range(1, int(nuclei.labels.max()) + 1):
        light = nuclei.image[nuclei.labels == label]
        assert light.mean() > np.percentile(background, 75), label


def test_larger_diameter_makes_larger_nuclei() -> None:
    def typical(diameter: float) -> float:
        return float(np.median(np.bincount(made(0, diameter=diameter).labels.flat)[1:]))

    assert 3.0 < typical(36.0) / typical(18.0) < 5.5  # twice the diameter


def test_density_is_the_share_of_the_field_about() -> None:
    filled = [(made(seed, density=0.15).labels > 0).mean() for seed in range(6)]

    assert 0.1 < np.mean(filled) < 0.2


def test_more_photons_make_a_less_noisy_image() -> None:
    def noise(photons: float) -> float:
        optics = Optics(photons=photons, background=photons / 10, dtype="uint16")
        image = synthesize((96, 96), np.random.default_rng(0), optics=optics).image
        flat = image.astype(float)[:, :20]
        return float(np.abs(np.diff(flat, axis=0)).mean() / flat.mean())

    assert noise(2000.0) < 0.5 * noise(100.0)


def test_tracks_keep_their_label_while_they_move() -> None:
    lapse = synthesize_time((5, 128, 128), np.random.default_rng(4))
    shifts = []

    for label in np.unique(lapse.labels[lapse.labels > 0]):
        areas = (lapse.labels == label).sum(axis=(1, 2))
        if (areas > 200).all():
            centres = [np.argwhere(f == label).mean(axis=0) for f in lapse.labels]
            shifts.append(np.linalg.norm(np.diff(centres, axis=0), axis=1))

    assert len(shifts) > 3
    assert 0.1 < np.median(shifts) < 4.0
    assert np.max(shifts) < 8.0


def test_demo_sample_has_touching_nuclei_of_a_usual_size() -> None:
    (image, shown, kind), (labels, truth, truth_kind) = (
        sample_data.synthetic_nuclei_2d()
    )
    diameters = np.sqrt(np.bincount(labels.flat)[1:] * 4 / np.pi)
    left, right = labels[:, :-1], labels[:, 1:]
    touching = (left != right) & (left > 0) & (right > 0)

    assert (image.shape, kind, truth_kind) == ((512, 512), "image", "labels")
    assert shown["name"] == "synthetic nuclei"
    assert truth == {"name": "synthetic nuclei - truth", "visible": False}
    assert 20 < np.median(diameters) < 30
    assert touching.sum() > 20


@pytest.mark.parametrize(
    ("sample", "shape"),
    [
        (sample_data.synthetic_nuclei_3d, (32, 192, 192)),
        (sample_data.synthetic_nuclei_time, (12, 256, 256)),
    ],
)
def test_stack_samples_come_with_a_hidden_truth(sample: object, shape: tuple) -> None:
    assert callable(sample)
    (image, shown, _), (labels, truth, kind) = sample()

    assert image.shape == labels.shape == shape
    assert (kind, truth["visible"]) == ("labels", False)
    assert truth["name"] == f"{shown['name']} - truth"
    assert shown.get("scale") == truth.get("scale")


def test_ihc_is_the_colour_image_that_scikit_image_ships() -> None:
    [(image, shown, kind)] = sample_data.ihc()

    assert (image.shape, image.dtype) == ((512, 512, 3), np.uint8)
    assert (shown["rgb"], kind) == (True, "image")


@pytest.mark.parametrize("sample", [sample_data.human_mitosis, sample_data.cells3d])
def test_offline_downloads_end_in_one_sentence(
    sample: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise socket.gaierror("no network in this test")

    assert callable(sample)
    monkeypatch.setenv("SKIMAGE_DATADIR", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(proxy, raising=False)

    with pytest.raises(UnetError, match="connect to the network"):
        sample()


def test_what_scikit_image_downloaded_before_is_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    cached = tmp_path / version("scikit-image") / "data" / "some.tif"
    cached.parent.mkdir(parents=True)
    tifffile.imwrite(cached, image)
    monkeypatch.setenv("SKIMAGE_DATADIR", str(tmp_path))

    checksum = hashlib.sha256(cached.read_bytes()).hexdigest()
    found = sample_data._downloaded("some.tif", "nowhere.tif", checksum)

    np.testing.assert_array_equal(found, image)
