"""The command line, through the same door as the installed command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_unet import __version__
from napari_unet.cli import main
from napari_unet.engine.model import new_model, revised
from napari_unet.engine.spec import ModelSpec, UNetSpec
from napari_unet.formats import load_model, save_model
from napari_unet.sample_data import synthesize

START = "import sys; from napari_unet.cli import main; sys.exit(main())"
# a shell's background job ignores interrupts, and so do those that it starts
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
QUICK = ["--steps", "3", "--crop", "32", "--batch", "1", "--evaluate-every", "2"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained network in a native file."""
    spec = ModelSpec(name="tiny", architecture=UNetSpec(out_channels=2, widths=(4, 8)))
    return save_model(
        new_model(spec), tmp_path_factory.mktemp("model") / "tiny.safetensors"
    )


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images with masks, and an index of them."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    rows = ["name,split,kind"]
    for number in range(5):
        made = synthesize((64, 64), np.random.default_rng(number), diameter=16.0)
        iio.imwrite(folder / "images" / f"n{number}.png", made.image)
        tifffile.imwrite(folder / "masks" / f"n{number}.tif", made.labels)
        rows.append(f"n{number},{'train' if number < 4 else 'val'},{'ab'[number % 2]}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


def process(
    code: str, *args: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python code with arguments in a process of its own."""
    return subprocess.run(  # noqa: S603 - the tests' own code
        [sys.executable, "-c", code, *args],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Return the one sentence with which a command is refused."""
    code = main([str(a) for a in args])
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1, said.err
    assert lines[0][-1] in ".", said.err
    return lines[0]


def answer(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    """Return the one JSON object that a command prints."""
    code = main([*(str(a) for a in args), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    facts: dict[str, Any] = json.loads(said.out)
    assert said.out.count("\n") == 1
    return facts


def test_importing_the_command_loads_no_torch_napari_or_qt() -> None:
    look = (
        "import sys, napari_unet.cli;"
        "print([m for m in ('torch', 'napari', 'qtpy', 'monai') if m in sys.modules])"
    )

    assert process(look).stdout == "[]\n"


def test_version_and_help_answer_on_standard_output() -> None:
    version, usage = process(START, "--version"), process(START, "--help")

    assert version.stdout.split() == ["napari-unet-workbench", __version__]
    for name in (
        "info",
        "predict",
        "train",
        "finetune",
        "evaluate",
        "export",
        "replay",
        "demo",
    ):
        assert name in usage.stdout


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["predict"],
        ["info", "--nonsense"],
        ["train", "data", "-o", "x.safetensors", "--steps", "many"],
        ["train", "data", "-o", "x.safetensors", "--steps", "0"],
        ["train", "data", "-o", "x.safetensors", "--arch", "transformer"],
        ["train", "data", "-o", "x.safetensors", "--dims", "4"],
        ["train", "data", "-o", "x.safetensors", "--loss", "none"],
        ["train", "data", "-o", "x.safetensors", "--val", "1.5"],
        ["train", "data", "-o", "x.safetensors", "--where", "modality"],
        ["train", "data", "-o", "x.onnx"],
        ["train", "nowhere", "-o", "x.safetensors"],
        ["info", "nowhere.safetensors"],
        ["predict", "nuclei", "nowhere.tif", "-o", "out"],
        ["evaluate", "nowhere", "nowhere"],
    ],
)
def test_wrong_arguments_end_in_one_sentence(
    args: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)

    sentence = refused(capsys, *args)

    assert "Traceback" not in sentence
    assert not any(character in sentence for character in "│╭─")
    assert list(tmp_path.iterdir()) == []


def test_a_real_process_exits_with_two_and_one_line(tmp_path: Path) -> None:
    done = process(START, "info", "nowhere.pt", "--json", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_info_as_json_has_the_promised_keys(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = answer(capsys, "info", tiny)

    promised = {"family": "napari-unet", "dims": 2, "in_channels": 1, "widths": [4, 8]}
    assert promised.items() <= facts.items()
    assert facts["classes"] == ["foreground", "boundary distance"]
    assert (facts["output"], facts["trainable"]) == ("instances", True)
    assert facts["normalization"]["source"] == "read"
    assert facts["warnings"] == []


def test_info_says_what_was_inferred_and_guessed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    spec = ModelSpec(architecture=UNetSpec(widths=(4, 8)), output="foreground")
    file = tmp_path / "plain.pt"
    torch.save(new_model(spec).network.state_dict(), file)

    facts = answer(capsys, "info", file)
    main(["info", str(file)])
    text = capsys.readouterr().out

    assert facts["normalization"]["source"] == "guessed"
    assert len(facts["warnings"]) == 2
    assert "4-8 (inferred)" in text
    assert "percentile of the image (guessed)" in text


def test_predict_writes_one_file_equal_to_the_python_call(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_unet import PredictConfig, predict

    image, out = pairs / "images" / "n0.png", tmp_path / "labels.tif"

    facts = answer(
        capsys, "predict", tiny, image, "-o", out,
        "--precision", "float32", "--tile", 32, "--tta",
    )  # fmt: skip

    config = PredictConfig(precision="float32", tile=32, tta=True)
    expected = predict(load_model(tiny), iio.imread(image), config=config)
    np.testing.assert_array_equal(tifffile.imread(out), expected.labels)
    [one] = facts["outputs"]
    assert (one["output"], one["objects"]) == (str(out), expected.labels.max())


def test_pixel_sizes_are_taken_from_the_file_or_the_option(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = revised(load_model(tiny), {"pixel_size": [1.0, 1.0]})
    sized = save_model(model, tmp_path / "sized.safetensors")
    image, out = tmp_path / "image.tif", tmp_path / "labels.tif"
    pixels = iio.imread(pairs / "images" / "n0.png")
    tifffile.imwrite(
        image, pixels, imagej=True, resolution=(2, 2), metadata={"unit": "um"}
    )
    ask = ("predict", sized, image, "-o", out, "--overwrite")
    (one,) = answer(capsys, *ask)["outputs"]
    assert "scaled by 0.5" in one["summary"]
    (one,) = answer(capsys, *ask, "--pixel-size", "0.25")["outputs"]
    assert "scaled by 0.25" in one["summary"]
    assert tifffile.imread(out).shape == pixels.shape
    (one,) = answer(capsys, *ask, "--pixel-size", "1x1")["outputs"]
    assert "scaled" not in one["summary"]
    assert "expected a number above 0" in refused(capsys, *ask, "--pixel-size", "big")


def test_axes_are_those_of_the_file_and_a_channel_is_chosen(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_unet import predict

    folder, out = tmp_path / "pairs", tmp_path / "labels.tif"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    image = folder / "images" / "n0.tif"
    pixels = iio.imread(pairs / "images" / "n0.png")
    both = np.stack([pixels[::-1], pixels])
    tifffile.imwrite(image, both, imagej=True, metadata={"axes": "CYX"})
    truth = tifffile.imread(pairs / "masks" / "n0.tif")
    tifffile.imwrite(folder / "masks" / "n0.tif", truth)
    ask = ("predict", tiny, image, "-o", out, "--overwrite")
    assert "choose a channel" in refused(capsys, *ask)
    (one,) = answer(capsys, *ask, "--channel", "1")["outputs"]
    assert "channel 1 only" in one["summary"]
    expected = predict(load_model(tiny), pixels)
    np.testing.assert_array_equal(tifffile.imread(out), expected.labels)
    ask = ("finetune", tiny, folder, "-o", tmp_path / "new.safetensors", *QUICK)
    assert "choose a channel" in refused(capsys, *ask)
    assert answer(capsys, *ask, "--channel", "1")["examples"] == 1


def test_an_ensemble_and_its_uncertainty_equal_the_python_call(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_unet import PredictConfig, predict

    image, out = pairs / "images" / "n0.png", tmp_path / "labels.tif"
    other = save_model(new_model(load_model(tiny).spec, 7), tmp_path / "b.safetensors")
    ask = ("predict", tiny, image, "-o", out, "--precision", "float32")

    facts = answer(capsys, *ask, "--ensemble", other, "--uncertainty")

    config = PredictConfig(precision="float32", uncertainty=True)
    partners = [load_model(other)]
    expected = predict(
        load_model(tiny), iio.imread(image), config=config, partners=partners
    )
    np.testing.assert_array_equal(tifffile.imread(out), expected.labels)
    found = tifffile.imread(facts["outputs"][0]["uncertainty"])
    np.testing.assert_array_equal(found, expected.uncertainty)
    out.unlink()
    message = refused(capsys, *ask, "--tta", "--uncertainty")
    assert "labels_uncertainty.tif is there already" in message
    message = refused(capsys, *ask, "--uncertainty", "--overwrite")
    assert "there is only one" in message


def test_predict_fills_a_folder_with_one_file_per_image(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, colour = tmp_path / "stack.tif", tmp_path / "colour.png"
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 999, (3, 33, 47), np.uint16)
    tifffile.imwrite(stack, planes, photometric="minisblack")
    iio.imwrite(colour, rng.integers(0, 255, (40, 50, 3), np.uint8))
    out = tmp_path / "new" / "out"

    facts = answer(
        capsys, "predict", tiny, stack, colour, pairs / "images" / "n1.png", "-o", out
    )

    names = ("stack_labels.tif", "colour_labels.tif", "n1_labels.tif")
    assert [Path(o["output"]).name for o in facts["outputs"]] == list(names)
    shapes = [tifffile.imread(out / name).shape for name in names]
    assert shapes == [(3, 33, 47), (40, 50), (64, 64)]
    assert "luminance" in facts["outputs"][1]["summary"]


def test_predict_writes_png_and_refuses_it_for_a_stack(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, png = tmp_path / "stack.tif", tmp_path / "labels.png"
    tifffile.imwrite(stack, np.zeros((2, 32, 32), np.uint8))

    assert "TIFF" in refused(capsys, "predict", tiny, stack, "-o", png)
    assert not png.exists()
    answer(capsys, "predict", tiny, pairs / "images" / "n0.png", "-o", png)
    assert iio.imread(png).dtype == np.uint16


def test_axes_option_tells_a_stack_of_three_from_colour(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "channels.tif"
    tifffile.imwrite(image, np.zeros((3, 32, 40), np.uint8), photometric="minisblack")

    [one] = answer(
        capsys, "predict", tiny, image, "-o", tmp_path / "a.tif", "--axes", "cyx"
    )["outputs"]

    assert one["shape"] == [32, 40]
    sentence = refused(
        capsys, "predict", tiny, image, "-o", tmp_path / "b.tif", "--axes", "YX"
    )
    assert str(image) in sentence


def test_existing_labels_are_replaced_only_when_asked(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [pairs / "images" / f"n{number}.png" for number in (0, 1)]
    old = tmp_path / "n1_labels.tif"
    old.write_bytes(b"old")

    assert "--overwrite" in refused(capsys, "predict", tiny, *images, "-o", tmp_path)
    assert old.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [old]

    answer(capsys, "predict", tiny, *images, "-o", tmp_path, "--overwrite")
    assert tifffile.imread(old).shape == (64, 64)


def test_outputs_that_cannot_be_are_refused_before_the_model_is_opened(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (pairs / "images" / f"n{number}.png" for number in (0, 1))
    copy = tmp_path / "n0.tif"
    copy.write_bytes(first.read_bytes())
    file = tmp_path / "file"
    file.touch()

    def sentence(*args: object) -> str:
        return refused(capsys, "predict", "no-such-model", *args)

    assert "give a folder" in sentence(first, second, "-o", tmp_path / "one.tif")
    assert ".jpg" in sentence(first, "-o", tmp_path / "one.jpg")
    assert "different folders" in sentence(first, copy, "-o", tmp_path / "out")
    assert "image itself" in sentence(copy, "-o", copy, "--overwrite")
    assert "cannot be written to" in sentence(first, "-o", file / "out")
    assert "is a folder" in sentence(pairs, "-o", tmp_path / "out")


def test_a_bad_image_is_named_and_nothing_is_left_of_it(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, two = tmp_path / "damaged.tif", tmp_path / "nan.tif"
    damaged.write_bytes(b"II*\0 and no more")
    tifffile.imwrite(two, np.full((32, 32), np.nan, np.float32))

    assert str(damaged) in refused(capsys, "predict", tiny, damaged, "-o", tmp_path)
    sentence = refused(capsys, "predict", tiny, two, "-o", tmp_path)

    assert str(two) in sentence
    assert "NaN" in sentence
    assert len(list(tmp_path.iterdir())) == 2


def test_train_keeps_its_recipe_and_held_out_measures(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.safetensors"

    facts = answer(
        capsys, "train", pairs, "-o", out, *QUICK, "--name", "mine", "--seed", 5,
        "--split", "train", "--where", "kind=a,b", "--learning-rate", 0.002,
        "--loss", "dice", "--patience", 4, "--val", 0.25, "--device", "cpu",
    )  # fmt: skip

    spec = load_model(out).spec
    assert (facts["learnt_from"], facts["held_out"]) == (3, 1)
    assert spec.name == "mine"
    assert spec.provenance["data"] == pairs.name
    assert spec.provenance["seed"] == "5"
    assert f"dice {facts['measures']['dice']:.3f}" in spec.provenance["held_out"]
    for setting in ("steps=3", "split=train", "kind=a,b", "learning_rate=0.002",
                    "loss=dice", "patience=4", "val=0.25", "arch=modern"):  # fmt: skip
        assert setting in spec.provenance["recipe"].split()
    assert str(pairs.parent) not in " ".join(spec.provenance.values())


def test_the_same_seed_trains_the_same_network_as_the_engine(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from napari_unet.engine.config import TrainConfig
    from napari_unet.engine.drain import drain
    from napari_unet.engine.sampling import Example
    from napari_unet.engine.spec import modern_unet
    from napari_unet.engine.training import train_steps
    from napari_unet.io.pairs import find_pairs

    out = tmp_path / "new.safetensors"
    answer(capsys, "train", pairs, "-o", out, *QUICK, "--seed", 1)

    examples = [Example(*pair.read()) for pair in find_pairs(pairs)]
    held = int(np.random.default_rng(1).permutation(5)[0])
    learnt = [e for number, e in enumerate(examples) if number != held]
    config = TrainConfig(steps=3, crop=32, batch=1, evaluate_every=2, seed=1)
    start = new_model(ModelSpec(architecture=modern_unet()), 1)
    fitted = drain(train_steps(start, learnt, [examples[held]], config))
    trained = load_model(out).network.state_dict()
    for key, value in fitted.model.network.state_dict().items():
        torch.testing.assert_close(trained[key], value, msg=key)


def test_seed_architecture_learns_foreground_from_three_channels(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "seed.safetensors"

    answer(capsys, "train", pairs, "-o", out, *QUICK, "--arch", "seed")
    facts = answer(capsys, "info", out)

    assert (facts["parameters"], facts["in_channels"]) == (1_941_105, 3)
    assert (facts["output"], facts["norm"]) == ("foreground", "none")


def test_train_in_3d_needs_volumes_and_names_the_first_that_is_none(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = refused(
        capsys, "train", pairs, "-o", tmp_path / "m.safetensors", "--dims", 3
    )

    assert "n0.png" in sentence
    assert list(tmp_path.iterdir()) == []


def test_labels_that_do_not_fit_are_named_before_training(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    iio.imwrite(tmp_path / "images" / "odd.png", np.zeros((40, 40), np.uint8))
    iio.imwrite(tmp_path / "masks" / "odd.png", np.zeros((40, 41), np.uint8))

    sentence = refused(capsys, "train", tmp_path, "-o", tmp_path / "m.safetensors")

    assert "odd.png" in sentence
    assert "(40, 41)" in sentence


def test_a_checkpoint_is_replaced_only_when_asked(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.safetensors"
    out.write_bytes(b"old")

    for command in (["train", pairs], ["finetune", tiny, pairs]):
        assert "--overwrite" in refused(capsys, *command, "-o", out)
    assert "--overwrite" in refused(capsys, "export", tiny, out)
    assert out.read_bytes() == b"old"

    answer(capsys, "export", tiny, out, "--overwrite")
    assert load_model(out).spec == load_model(tiny).spec


def test_finetune_is_never_worse_on_what_it_holds_out(
    tiny: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "better.safetensors"

    facts = answer(capsys, "finetune", tiny, pairs, "-o", out, *QUICK)

    new = load_model(out)
    assert (facts["name"], facts["base"], facts["examples"]) == ("better", "tiny", 5)
    assert set(facts["before"]) == set(facts["after"]) >= {"dice", "ap50"}
    assert new.spec.provenance["base"] == "tiny"
    assert "steps=3" in new.spec.provenance["recipe"]
    assert facts["after"]["dice"] >= facts["before"]["dice"]


def test_evaluate_pools_over_folders_and_says_what_has_no_partner(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_unet.engine.metrics import count, measures, pooled

    truths = [tifffile.imread(pairs / "masks" / f"n{n}.tif") for n in range(2)]
    predictions = [truths[0], np.where(truths[1] == 1, 0, truths[1])]
    for number, labels in enumerate(predictions):
        tifffile.imwrite(tmp_path / f"n{number}_labels.tif", labels)

    facts = answer(capsys, "evaluate", tmp_path, pairs / "masks")

    counts = pooled(map(count, predictions, truths))
    assert measures(counts).items() <= facts.items()
    assert counts.items() <= facts.items()
    assert facts["recall50"] < 1 == facts["precision50"]
    assert (facts["images"], facts["without_prediction"]) == (2, 3)


def test_evaluate_compares_two_files_in_words(
    pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = pairs / "masks" / "n0.tif"
    smaller = tmp_path / "smaller.tif"
    tifffile.imwrite(smaller, np.zeros((8, 8), np.int32))

    assert main(["evaluate", str(mask), str(mask)]) == 0
    assert "dice 1.000" in capsys.readouterr().out
    assert "(8, 8)" in refused(capsys, "evaluate", smaller, mask)
    assert "two files or two folders" in refused(capsys, "evaluate", tmp_path, mask)
    assert "same name" in refused(capsys, "evaluate", tmp_path, pairs / "masks")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_interrupted_training_leaves_no_file(pairs: Path, tmp_path: Path) -> None:
    args = ["train", pairs, "-o", "m.safetensors", "--steps", "100000", *QUICK[2:]]
    running = subprocess.Popen(  # noqa: S603 - the tests' own code
        [sys.executable, "-c", f"{HEARS}; {START}", *map(str, args)],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr is not None
    first = running.stderr.readline()

    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)

    assert first.startswith("step 0 of 100000")
    assert running.returncode == 130
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_without_napari_the_window_is_refused_with_a_sentence(tmp_path: Path) -> None:
    absent = f"import sys; sys.modules['napari'] = None; {START}"

    for args in ([], ["demo", "--screenshot", "demo.png", "--exit"]):
        done = process(absent, *args, cwd=tmp_path)

        assert done.returncode == 2, done.stderr
        assert "napari-unet-workbench[all]" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_bug_shows_its_traceback_and_exits_with_one(tiny: Path) -> None:
    broken = (
        "import napari_unet.cli.checkpoints as checkpoints;"
        f"checkpoints.describe = lambda model: 1 / 0; {START}"
    )

    done = process(broken, "info", str(tiny))

    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_predicts_and_evaluates_a_real_image(
    tiny: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data_folder / "data" / "dsb2018"
    image = sorted((folder / "images").iterdir())[0]
    mask = next((folder / "masks").glob(f"{image.stem}.*"))
    out = tmp_path / "labels.tif"

    answer(capsys, "predict", tiny, image, "-o", out)
    facts = answer(capsys, "evaluate", out, mask)

    assert facts["true"] > 0
    assert 0 <= facts["dice"] <= 1


def test_a_guess_is_changed_by_set(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = answer(
        capsys, "info", tiny, "--set", "normalization.kind=scale",
        "--set", "normalization.divisor=4095",
    )  # fmt: skip
    assert facts["normalization"]["settings"]["divisor"] == 4095
    assert facts["normalization"]["source"] == "chosen"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("normalization", "expected FIELD=VALUE"),
        ("normalization.kind=odd", "do not fit the model"),
        ("nonsense=1", "do not fit the model"),
    ],
)
def test_a_change_that_cannot_be_is_refused(
    tiny: Path, capsys: pytest.CaptureFixture[str], asked: str, words: str
) -> None:
    assert main(["info", str(tiny), "--set", asked]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture
def corrected(tmp_path: Path) -> Path:
    """A training folder of two slices, the left halves of which are supervised."""
    from napari_unet.engine.drain import drain
    from napari_unet.io.training_folder import Part, write_pairs_steps

    made = [
        synthesize((64, 64), np.random.default_rng(n), diameter=16.0) for n in (0, 1)
    ]
    image, labels = (
        np.stack([getattr(m, k) for m in made]) for k in ("image", "labels")
    )
    supervised = np.zeros(labels.shape, bool)
    supervised[..., :40] = True
    parts = [Part("movie", image, labels, supervised, "TYX", (0.5, 0.5))]
    return drain(write_pairs_steps(tmp_path / "corrected", parts))


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_corrections_handed_over_are_learnt_where_they_are_supervised(
    command: str,
    tiny: Path,
    corrected: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start = [tiny] if command == "finetune" else []
    ask = [command, *start, corrected, "-o", tmp_path / "new.safetensors", *QUICK]

    facts = answer(capsys, *ask)
    for path in (corrected / "supervised").iterdir():
        tifffile.imwrite(path, np.zeros((64, 64), np.uint8))
    sentence = refused(capsys, *ask, "--overwrite")

    assert facts.get("examples", facts.get("learnt_from")) == (2 if start else 1)
    nothing = "Nothing is corrected yet" if start else "0 images to train on and 0 to"
    assert nothing in sentence


@pytest.mark.parametrize(
    ("sizes", "size"),
    [
        (("0.5", "0.52"), [0.51, 0.51]),
        (("0.5", "0.8"), None),
        (("0.5", "50"), None),
        (("0.5", ""), None),
    ],
)
def test_a_new_network_knows_the_size_of_pixels_that_it_learnt_from(
    sizes: tuple[str, str],
    size: list[float] | None,
    corrected: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    index = corrected / "index.csv"
    lines = index.read_text().splitlines()
    for number, size_of in enumerate(sizes, start=1):
        assert lines[number].endswith(",0.5")
        lines[number] = lines[number].removesuffix("0.5") + size_of
    index.write_text("\n".join(lines))
    out = tmp_path / "new.safetensors"
    assert main(["train", str(corrected), "-o", str(out), *QUICK]) == 0
    said = capsys.readouterr().out
    assert ("pixel size 0.51 um, that of the images" in said) == bool(size)
    assert answer(capsys, "info", out)["pixel_size"] == size


def test_fine_tuning_sees_pairs_in_pixels_of_the_model(
    tiny: Path, corrected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, far = tmp_path / "new.safetensors", "--set=pixel_size=[20,20]"
    ask = ["finetune", tiny, corrected, "-o", out, *QUICK]
    answer(capsys, *ask, "--set=pixel_size=[1,1]")
    sentence = refused(capsys, *ask, "--overwrite", far)
    assert "The image's pixels measure 0.5 x 0.5 um, the model's 20 x 20 um" in sentence
    assert "movie-t0000.tif: " in sentence


def test_a_supervised_mask_of_another_shape_is_named(
    tiny: Path, corrected: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = corrected / "supervised" / "movie-t0001.tif"
    tifffile.imwrite(path, np.ones((64, 63), np.uint8))

    out = tmp_path / "new.safetensors"
    sentence = refused(capsys, "finetune", tiny, corrected, "-o", out, *QUICK)

    assert "movie-t0001.tif: What is supervised has the shape (64, 63)" in sentence


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.zip", "a.json"])
def test_predict_writes_every_kind_of_masks(
    name: str,
    tiny: Path,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image, out = pairs / "images" / "n0.png", tmp_path / name

    facts = answer(capsys, "predict", tiny, image, "-o", out)
    sentence = refused(capsys, "predict", tiny, image, "-o", out)

    assert facts["outputs"][0]["output"] == str(out)
    assert list(tmp_path.iterdir()) == [out]
    assert "is there already" in sentence
