"""Parts of an image are computed as in the whole, whoever made the network.

Of networks that measure all they see, only the whole can be: it is computed with folded
batch norm.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.formats.families.test_keras_graph import REFUSED, written
from tests.formats.families.test_smp import CHAOTIC
from tests.formats.recorded import FOLDER, drawn_input, drawn_weights, recording

from napari_unet.engine.cropping import can_crop
from napari_unet.engine.inference import Frame, Inference
from napari_unet.engine.model import Model
from napari_unet.formats import keras_file, load_model
from napari_unet.formats.families import recognise
from napari_unet.formats.reading import Contents
from napari_unet.formats.weights import assemble

if TYPE_CHECKING:
    from pathlib import Path

KERAS = sorted(path.stem for path in FOLDER.glob("keras_*.npz"))
LIBRARIES = sorted({
    path.stem for kind in ("smp", "3dunet", "torch_em")
    for path in FOLDER.glob(f"{kind}*.npz")
} - CHAOTIC)  # fmt: skip
FILES = (
    "milesial_layout_generated/state_dict.pth",
    "keras_nuclei_generated/model_for_nuclei.h5",
    "monai_unet_res2_batchnorm_generated/state_dict.pth",
    "pytorch3dunet_unet2d_bcr_generated/best_checkpoint.pytorch",
    "segmentify_Nuclei/Nuclei.pth",
    "bioimageio_unet2d_nuclei_broad/state_dict_from_torchscript.pt",
)
TOLERANCE = 1e-4  # of the largest logit; sums are made in another order


def compared(model: Model, length: int = 3) -> tuple[float, bool]:
    """Return the largest difference of parts to the whole, and if insides were cut."""
    network, dims = model.network, model.spec.architecture.dims
    step, odd = network.stride, getattr(network.graph, "fit", "") == "pad"
    lengths = (length, length - 1, length)[-dims:]
    shape = tuple(max(n * step, 12) + odd for n in lengths)
    x = drawn_input((1, model.spec.architecture.in_channels, *shape))
    inference = Inference(model, torch.float32)
    with torch.no_grad():
        whole = network(x)
        scores = model.scores(x)[0].numpy()
    frame, worst = Frame(inference, shape), 0.0
    middle = tuple((n // 2 - 3, n // 2 + 4) for n in shape)
    start, end = (tuple((0, 9) for _ in shape), tuple((n - 5, n) for n in shape))
    beyond = np.pad(x[0].numpy(), [(0, 0), *((0, step),) * dims], mode="edge")
    all_of_it = tuple((0, n) for n in shape)
    across = [(a, min(a + 5, shape[0])) for a in range(1, shape[0], 5)]
    bands = [(band, *middle[1:]) for band in across]  # each goes on from the last
    parts = (middle, start, end, (*middle[:-1], end[-1])) if network.local else ()
    window = None
    for core in (all_of_it, *parts, *(bands if network.local else ())):
        window = frame.window(core, window)
        read = tuple(slice(*span) for span in window.read)
        found = inference.scores(beyond[(slice(None), *read)], window)
        part = tuple(slice(*span) for span in core)  # no more than the image has
        difference = np.abs(found - scores[(slice(None), *part)]).max()
        worst = max(worst, float(difference))
    scale = max(float(whole.abs().max()), 1.0)
    return worst / scale, can_crop(inference.network.graph)  # type: ignore[arg-type,union-attr]


@pytest.mark.parametrize("case", LIBRARIES)
def test_of_libraries(case: str) -> None:
    weights = drawn_weights(recording(case)[0]["shapes"])
    reading = recognise(Contents("a.pth", "a", weights))
    network = assemble(reading.spec.architecture, reading.weights, "a.pth")
    difference, _ = compared(Model(network, reading.spec))
    assert difference <= TOLERANCE


@pytest.mark.parametrize("case", [case for case in KERAS if case not in REFUSED])
def test_of_keras(case: str, tmp_path: Path) -> None:
    difference, _ = compared(keras_file.load(written(case, tmp_path)))
    assert difference <= TOLERANCE


@pytest.mark.parametrize("file", FILES)
def test_of_files(data_folder: Path, file: str) -> None:
    difference, cut = compared(load_model(data_folder / "checkpoints" / file))
    assert difference <= TOLERANCE
    assert cut
