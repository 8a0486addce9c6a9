"""Damaged files: each opens to the right network, or is refused with a sentence.

Bytes of good files are flipped and ends cut off, at places drawn from a fixed seed. A
file whose container holds checksums opens with exactly its weights, or not at all.
"""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_unet.errors import UnetError
from napari_unet.formats import load_model, save_model
from tiny import tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_unet.engine.model import Model

QUICK, FULL = 10, 200  # cases per file
LONGEST = 5.0  # seconds
LARGEST = 2**30  # bytes
SHARED = {
    "milesial.pth": "hostile/CONTROL_good_base4.pth",
    "nnunet.pth": "nnunetv2_plain_2d_generated/fold_0/checkpoint_final.pth",
    "3dunet.pytorch": "pytorch3dunet_unet2d_bcr_generated/best_checkpoint.pytorch",
    "monai.pth": "monai_basicunet_default_2d_generated/state_dict.pth",
    "keras.h5": "keras_nuclei_generated/model_for_nuclei_keras2_weights_only.h5",
    "keras.keras": "keras_nuclei_generated/model_for_nuclei_rescaling.keras",
    "package.zip": "bioimageio_unet2d_nuclei_broad/unet2d_nuclei_broad.nocode.zip",
}
WITHOUT_CHECKSUMS = ("legacy.pth", "foreign.safetensors", "keras.h5")


def native(path: Path) -> None:
    save_model(tiny_model(), path)


def legacy(path: Path) -> None:
    weights = tiny_model().network.state_dict()
    torch.save({"state_dict": weights}, path, _use_new_zipfile_serialization=False)


def foreign(path: Path) -> None:
    weights = tiny_model().network.state_dict()
    save_file({f"net.{key}": value for key, value in weights.items()}, path)


MADE: dict[str, Callable[[Path], None]] = {
    "native.safetensors": native,
    "legacy.pth": legacy,
    "foreign.safetensors": foreign,
}


def good_file(name: str, folder: Path, request: pytest.FixtureRequest) -> Path:
    if name in MADE:
        MADE[name](folder / name)
        return folder / name
    data: Path = request.getfixturevalue("data_folder")
    return data / "checkpoints" / SHARED[name]


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the content with some bytes changed, or cut short."""
    if rng.random() < 0.25:
        return content[: rng.integers(len(content))]
    changed = bytearray(content)
    places = rng.integers(len(content), size=rng.choice([1, 1, 4, 64]))
    if rng.random() < 0.3:  # names and sizes stand at the beginning or the end
        places = places % 4096
    for place in places:
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)


def same_weights(first: Model, second: Model) -> bool:
    ours, theirs = first.network.state_dict(), second.network.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[key], theirs[key]) for key in ours
    )


@pytest.mark.parametrize("name", [*MADE, *SHARED])
def test_damage_is_refused_or_harmless(
    name: str, tmp_path: Path, full_counts: bool, request: pytest.FixtureRequest
) -> None:
    source = good_file(name, tmp_path, request)
    content, whole = source.read_bytes(), load_model(source, device="cpu")
    rng = np.random.default_rng(sum(name.encode()))
    path = tmp_path / f"damaged{source.suffix}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for case in range(FULL if full_counts else QUICK):
        path.write_bytes(damaged(content, rng))
        began = time.perf_counter()
        with suppress(UnetError):
            model = load_model(path, device="cpu")
            assert model.spec.architecture == whole.spec.architecture, case
            checked = name not in WITHOUT_CHECKSUMS
            assert not checked or same_weights(model, whole), case
        assert time.perf_counter() - began < LONGEST, case
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert after - before < LARGEST
