"""BioImage.IO packages out: passed by the format's own test, read back as they were."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml

from napari_unet.engine.model import Model
from napari_unet.engine.spec import ClassSpec, Normalization
from napari_unet.errors import OutputError
from napari_unet.formats import load_model
from napari_unet.formats.bioimageio import Author, Citation, load, save, verify
from napari_unet.formats.bioimageio.rdf import extent_of, is_orcid, name_of
from tiny import noise, tiny_model, tiny_spec

if TYPE_CHECKING:
    from pathlib import Path

ADA = Author("Ada Lovelace", "Analytical Engines", "0000-0002-1825-0097")
PAPER = Citation("U-Net", doi="10.1007/978-3-319-24574-4_28")
TEST = """
import sys
from pathlib import Path
from bioimageio.core import test_model
summary = test_model(Path(sys.argv[1]))
print(summary.status)
for detail in summary.details:
    if detail.status != "passed":
        print(detail.name, [error.msg for error in detail.errors])
"""


@pytest.fixture(autouse=True)
def _needs_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)


def numbers(package: str) -> tuple[int, ...]:
    """Return a package's version, (0,) where it is absent."""
    try:
        return tuple(int(n) for n in version(package).split(".")[:3] if n.isdigit())
    except PackageNotFoundError:
        return (0,)


def require_the_formats_own_test() -> None:
    if numbers("bioimageio.core") == (0,):
        pytest.skip("bioimageio.core is not installed")
    if numbers("bioimageio.spec") < (0, 5, 13) and numbers("pydantic") >= (2, 14):
        pytest.skip("this bioimageio.spec reads no package with pydantic 2.14")


def run_the_formats_own_test(path: Path) -> str:
    """Return what ``bioimageio test`` finds; in a process of its own, as it warns."""
    done = subprocess.run(  # noqa: S603  our own code, no shell
        [sys.executable, "-c", TEST, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or done.stderr


def saved(model: Model, path: Path, **asked: Any) -> Path:
    save(model, path, **{"authors": [ADA], **asked})
    verify(path, model)
    return path


def refreshed(model: Model, **fields: Any) -> Model:
    return Model(model.network, model.spec.model_copy(update=fields))


MODELS = {
    "instances": lambda: tiny_model(),
    "softmax": lambda: refreshed(
        tiny_model("classes", in_channels=3, upsampling="interpolate"),
        normalization=Normalization(kind="fixed", means=(99.0,), deviations=(9.0,) * 3),
    ),
    "3d": lambda: refreshed(
        tiny_model("foreground", dims=3), pixel_size=(2.0, 0.5, 0.5),
        normalization=Normalization(kind="zscore"),
    ),
    "negative": lambda: refreshed(
        tiny_model(), normalization=Normalization(negative=True)
    ),
    "negative zscore": lambda: refreshed(
        tiny_model(), normalization=Normalization(kind="zscore", negative=True)
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a package of each model; writing one takes seconds."""
    folder = tmp_path_factory.mktemp("packages")
    card = {"licence": "MIT", "cite": [PAPER]}
    return {
        kind: saved(make(), folder / f"{kind}.zip", **card)
        for kind, make in MODELS.items()
    }


@pytest.mark.parametrize("kind", MODELS)
def test_a_package_passes_the_formats_own_test(
    packages: dict[str, Path], kind: str, full_counts: bool
) -> None:
    require_the_formats_own_test()
    if kind != "softmax" and not full_counts:
        pytest.skip("of the full counts")
    assert run_the_formats_own_test(packages[kind]) == "passed"


def test_the_bundled_model_passes_the_formats_own_test(
    tmp_path: Path, full_counts: bool
) -> None:
    require_the_formats_own_test()
    if not full_counts:
        pytest.skip("of the full counts")
    model = load_model("nuclei-2d", device="cpu")
    path = saved(model, tmp_path / "m.zip", licence="CC-BY-4.0", cite=[PAPER])
    assert run_the_formats_own_test(path) == "passed"


@pytest.mark.parametrize("kind", MODELS)
def test_a_package_gives_the_same_model_back(
    packages: dict[str, Path], kind: str
) -> None:
    model = MODELS[kind]()
    again = load(packages[kind])
    assert "reproduces its test output" in again.spec.remarks[-1]
    assert again.spec.model_copy(update={"remarks": ()}) == model.spec
    weights = again.network.state_dict()
    for key, value in model.network.state_dict().items():
        assert torch.equal(weights[key], value)


def without_our_own_file(path: Path) -> Path:
    """Return a package that another program could have written."""
    other = path.with_name(f"other-{path.name}")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "rdf.yaml":
                rdf = {**yaml.safe_load(content), "attachments": []}
                content = yaml.safe_dump(rdf).encode()
            new.writestr(name, content)
    return other


@pytest.mark.parametrize("kind", MODELS)
def test_other_programs_weights_mean_the_same(
    packages: dict[str, Path], kind: str
) -> None:
    model = MODELS[kind]()
    again = load(without_our_own_file(packages[kind]))
    assert "reproduces its test output" in "; ".join(again.spec.remarks)
    assert again.spec.pixel_size == model.spec.pixel_size
    assert again.spec.likely_activation == model.spec.likely_activation
    net = model.spec.architecture
    x = torch.rand(1, net.in_channels, *(17, 37, 45)[-net.dims :])
    with torch.no_grad():
        difference = (again.scores(x) - model.scores(x)).abs().max()
    assert float(difference) < 1e-5


def rdf_in(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, Any] = yaml.safe_load(archive.read("rdf.yaml"))
    return found


def test_what_is_known_is_written(tmp_path: Path) -> None:
    named = tuple(ClassSpec(name=name) for name in ("ground", "cell", "border"))
    model = refreshed(
        tiny_model("classes", in_channels=3), classes=named, name="cells: µ!",
        channel_order="BGR", pixel_size=(0.5, 0.25),
    )  # fmt: skip
    path = saved(model, tmp_path / "m.zip", description="Finds cells.", cite=[PAPER])
    rdf = rdf_in(path)
    assert rdf["name"] == "cells U-Net" or rdf["name"].startswith("cells")
    assert rdf["description"] == "Finds cells."
    assert rdf["authors"] == [
        {"name": "Ada Lovelace", "affiliation": "Analytical Engines",
         "orcid": "0000-0002-1825-0097"}
    ]  # fmt: skip
    assert rdf["cite"] == [{"text": "U-Net", "doi": PAPER.doi}]
    assert "license" not in rdf
    (image,), (scores,) = rdf["inputs"], rdf["outputs"]
    assert image["axes"][1]["channel_names"] == ["blue", "green", "red"]
    assert [axis["scale"] for axis in image["axes"][2:]] == [0.5, 0.25]
    assert scores["axes"][1]["channel_names"] == ["ground", "cell", "border"]
    assert scores["axes"][2]["halo"] == extent_of(model).halo
    assert [step["id"] for step in image["preprocessing"]] == ["scale_range"]


def test_nothing_of_a_package_is_an_alias(packages: dict[str, Path]) -> None:
    with zipfile.ZipFile(packages["instances"]) as archive:
        text = archive.read("rdf.yaml").decode()
        readme = archive.read("README.md").decode()
        assert archive.read("cover.png").startswith(b"\x89PNG")
    assert "&id" not in text
    assert "## Validation" in readme


def test_a_sample_image_is_the_test_image(tmp_path: Path) -> None:
    model = tiny_model()
    sample = noise((1, 300, 40))
    path = saved(model, tmp_path / "m.zip", sample=sample)
    with zipfile.ZipFile(path) as archive, archive.open("test-input.npy") as file:
        image = np.load(file)
    size = extent_of(model).test
    assert image.shape == (1, 1, size, size)
    start = (300 - size) // 2
    assert np.array_equal(image[0, 0, :, :40], sample[0, start : start + size])
    with pytest.raises(OutputError, match="sample image has the shape"):
        save(model, path, authors=[ADA], sample=noise((40, 40)))


REFUSED = [
    ({"authors": []}, "none was given"),
    ({"authors": [Author("  ")]}, "none was given"),
    ({"authors": [Author("A", orcid="0000-0002-1825-0098")]}, "has the ORCID"),
    ({"licence": "CC BY 4.0"}, "no licence of the SPDX list"),
    ({"cite": [Citation("a paper")]}, "neither a DOI"),
]


@pytest.mark.parametrize(("asked", "words"), REFUSED)
def test_what_must_be_known_is_asked_for(
    tmp_path: Path, asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(OutputError, match=words):
        save(tiny_model(), tmp_path / "m.zip", **{"authors": [ADA], **asked})


def test_limits_of_each_channel_cannot_be_said(tmp_path: Path) -> None:
    limits = Normalization(kind="fixed", clip=((0.0, 1.0), (0.0, 2.0)))
    model = refreshed(tiny_model(in_channels=2), normalization=limits)
    with pytest.raises(OutputError, match="limits of its own"):
        save(model, tmp_path / "m.zip", authors=[ADA])


def test_a_negative_without_statistics_cannot_be_said(tmp_path: Path) -> None:
    over = Normalization(kind="scale", negative=True)
    model = refreshed(tiny_model(), normalization=over)
    with pytest.raises(OutputError, match="turned over: save the model as"):
        save(model, tmp_path / "m.zip", authors=[ADA])


def test_a_frozen_program_is_not_written(tmp_path: Path) -> None:
    model = Model(torch.nn.Identity(), tiny_spec())  # type: ignore[arg-type]  # as programs are
    with pytest.raises(OutputError, match="frozen program"):
        save(model, tmp_path / "m.zip", authors=[ADA])


def test_another_models_package_is_not_taken_for_this_one(
    packages: dict[str, Path],
) -> None:
    with pytest.raises(OutputError, match="would give other values"):
        verify(packages["instances"], tiny_model(seed=2))


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("0000-0002-1825-0097", True), ("0000-0002-1694-233X", True),
        ("0000-0002-1825-0096", False), ("0000000218250097", False), ("", False),
    ],
)  # fmt: skip
def test_orcids_are_checked(text: str, right: bool) -> None:
    assert is_orcid(text) is right


@pytest.mark.parametrize(
    ("name", "written"),
    [("nuclei-2d", "nuclei-2d"), ("a", "a U-Net"), ("", "U-Net"), ("Z/µm: x", "Z m x")],
)
def test_names_have_the_letters_that_are_allowed(name: str, written: str) -> None:
    spec = tiny_spec().model_copy(update={"name": name})
    assert name_of(spec) == written
