"""Real checkpoints of many makers: opened with no hints, checked to the last digit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_unet import (
    Example,
    FinetuneConfig,
    PredictConfig,
    finetune,
    predict,
    save_model,
)
from napari_unet.cli.app import main
from napari_unet.engine.drain import drain
from napari_unet.formats import load_model
from napari_unet.steps import look_at

if TYPE_CHECKING:
    from pathlib import Path

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """A file, what its maker's library gave, and what is to be said of it."""

    file: str
    family: str
    dims: int
    channels: int
    classes: int
    widths: tuple[int, ...] = ()
    logits: bool = True  # whether the recording is before the final activation
    given: str = "input"
    expected: str = "output"
    reference: str = "reference_io.npz"
    trust: bool = False
    options: tuple[str, ...] = field(default=())


DOUBLING = (16, 32, 64, 128, 256)
CASES = [
    *(
        Case(f"milesial_layout_generated/{file}", "milesial", 2, 1, 1, DOUBLING,
             reference=reference)
        for file in ("state_dict.pth", "checkpoint_epoch5_with_mask_values.pth")
        for reference in ("reference_io.npz", "reference_io_odd_size.npz")
    ),
    *(
        Case("milesial_layout_generated/scripted.torchscript.pt", "TorchScript",
             2, 1, 1, reference=reference, trust=True)
        for reference in ("reference_io.npz", "reference_io_odd_size.npz")
    ),
    *(
        Case(f"keras_nuclei_generated/{file}", "Keras", 2, 3, 1, DOUBLING, logits=False,
             given=f"input_{size}_uint8", expected=f"output_{size}")
        for file in ("model_for_nuclei.h5", "model_for_nuclei_rescaling.keras",
                     "model_for_nuclei_keras2_weights_only.h5")
        for size in ("128", "native")
    ),
    Case("monai_attentionunet_generated/state_dict.pth", "MONAI AttentionUnet", 2, 1, 2,
         (8, 16, 32, 64)),
    Case("monai_basicunet_default_2d_generated/state_dict.pth", "MONAI BasicUNet",
         2, 3, 3, (8, 8, 16, 32, 64)),
    *(
        Case(f"monai_basicunet_membranes_generated/{file}", "MONAI BasicUNet", 2, 1, 2,
             (16, 16, 32, 64, 128))
        for file in ("state_dict.pth", "model.pt")
    ),
    Case("monai_basicunetplusplus_generated/state_dict.pth",
         "MONAI BasicUNetPlusPlus", 2, 1, 2, (8, 8, 16, 32, 64)),
    Case("monai_segresnet_generated/state_dict.pth", "MONAI SegResNet", 2, 1, 2,
         (8, 16, 32, 64)),
    Case("monai_unet_3d_generated/state_dict.pth", "MONAI UNet", 3, 1, 2,
         (8, 16, 32, 64)),
    Case("monai_unet_res2_batchnorm_generated/state_dict.pth", "MONAI UNet", 2, 3, 1,
         (16, 32, 64, 128)),
    *(
        Case(f"nnunetv2_plain_{dims}d_generated{part}", "nnU-Net v2 PlainConvUNet",
             dims, 1, 3)
        for dims in (2, 3) for part in ("", "/fold_0/checkpoint_final.pth")
    ),
    Case("pytorch3dunet_unet2d_bcr_generated/best_checkpoint.pytorch",
         "pytorch-3dunet UNet2D", 2, 1, 1, (8, 16, 32), logits=False),
    Case("pytorch3dunet_unet3d_generated/best_checkpoint.pytorch",
         "pytorch-3dunet UNet3D", 3, 1, 1, (8, 16, 32), logits=False),
    *(
        Case(f"segmentify_{name}/{name}.pth", "unknown U-Net", 2, 1, 1,
             (8, 16, 32, 64, 128), logits=False)
        for name in ("HPA", "Nuclei")
    ),
    Case("bioimageio_unet2d_nuclei_broad/state_dict_from_torchscript.pt",
         "unknown U-Net", 2, 1, 1, (16, 32, 64, 128)),
    Case("bioimageio_unet2d_nuclei_broad/unet2d_nuclei_broad.nocode.zip",
         "", 2, 1, 1),
]  # fmt: skip


def case_name(case: Case) -> str:
    return f"{case.file}-{case.given}-{case.reference}"


@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_it_gives_what_its_maker_gave(data_folder: Path, case: Case) -> None:
    path = data_folder / "checkpoints" / case.file
    model = load_model(path, device="cpu", trust=case.trust)
    folder = data_folder / "checkpoints" / case.file.split("/")[0]
    with np.load(folder / case.reference) as recorded:
        x, expected = recorded[case.given], recorded[case.expected]
    if case.file.startswith("keras"):
        x, expected = np.moveaxis(x, -1, 1), np.moveaxis(expected, -1, 1)
    with torch.inference_mode():
        given = torch.from_numpy(x.astype(np.float32))
        found = model.network(given) if case.logits else model.scores(given)
    error = np.abs(found.numpy() - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE


@pytest.mark.parametrize(
    "case", {case.file: case for case in CASES}.values(), ids=lambda case: case.file
)
def test_info_says_what_it_is(
    data_folder: Path, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data_folder / "checkpoints" / case.file
    trust = ["--trust"] if case.trust else []
    assert main(["info", str(path), "--json", *trust]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert case.family in facts["family"]
    assert (facts["dims"], facts["in_channels"]) == (case.dims, case.channels)
    assert len(facts["classes"]) == facts["out_channels"] == case.classes
    assert tuple(facts["widths"][: len(case.widths)]) == case.widths


TRAINABLE = {case.family: case for case in CASES if case.family and not case.trust}
OWN_LAYOUT = ("milesial", "MONAI", "pytorch-3dunet", "unknown")


@pytest.mark.parametrize("case", TRAINABLE.values(), ids=lambda case: case.family)
def test_every_family_learns_and_is_saved(
    data_folder: Path, tmp_path: Path, case: Case
) -> None:
    model = load_model(data_folder / "checkpoints" / case.file, device="cpu")
    shape = (48, 48) if case.dims == 2 else (16, 24, 24)
    labels = np.zeros(shape, np.int32)
    labels[..., 4:20, 3:10], labels[..., 2:20, 14:22] = 1, 2
    if not model.spec.gives_objects:
        labels = np.minimum(labels, case.classes - 1)
    noise = np.random.default_rng(0).random(shape)
    image = np.stack([labels + noise] * case.channels).astype(np.float32)
    config = FinetuneConfig(steps=2, crop=32, batch=2, evaluate_every=2)
    example = Example(image, labels, axes="C" + "ZYX"[-case.dims :])
    network = finetune(model, [example], config=config).model
    before, after = model.network.state_dict(), network.network.state_dict()
    assert network.spec.architecture == model.spec.architecture
    again = load_model(save_model(network, tmp_path / "m.safetensors"))
    assert all(
        torch.equal(again.network.state_dict()[key], after[key]) for key in after
    )
    if case.family.startswith(OWN_LAYOUT):
        again = load_model(save_model(network, tmp_path / "m.pth"))
        assert again.network.state_dict().keys() == before.keys()


@pytest.mark.parametrize("case", TRAINABLE.values(), ids=lambda case: case.family)
def test_every_family_takes_images_of_a_few_pixels(
    data_folder: Path, case: Case
) -> None:
    model = load_model(data_folder / "checkpoints" / case.file, device="cpu")
    axes = "C" + "ZYX"[-case.dims :]
    rng, examples = np.random.default_rng(0), []
    for side in ((1, 1), (2, 40)):
        shape = (*(2,) * (case.dims - 2), *side)
        image = rng.random((case.channels, *shape), np.float32)
        turned = PredictConfig(tta=True, rotate=True)
        assert predict(model, image, axes=axes).labels.shape == shape
        assert predict(model, image, axes=axes, config=turned).labels.shape == shape
        drain(look_at(model, image, axes, None))
        labels = np.zeros(shape, np.int32)
        labels[..., :1] = 1
        examples.append(Example(image, labels, axes=axes))
    config = FinetuneConfig(steps=1, crop=32, batch=2, start="current")
    assert finetune(model, examples, config=config).steps == 1
