"""How fast an image becomes scores, and how exact that is.

The image is a mosaic of real ones (2018 Data Science Bowl, fluorescence). Each way is
timed in turn, again and again, and the median of each is compared with the median of
the network itself on the whole image at once (plain eager PyTorch, float32), so that a
busy machine slows all of them alike.

    python benchmarks/predict.py --size 2048 --repeats 3

Networks: ``seed`` (16-32-64-128-256, batch norm: the bundled model's own weights),
``recipe`` (the same without batch norm), ``wide`` (64-128-256-512-1024) and ``volume``
(3D, 16-32-64, batch norm); all but the first have random weights. MONAI's sliding
window is tried where MONAI is installed. ``--tiles`` compares the tiled prediction with
the folded network on the whole image at equal precision.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from _common import (
    FLUORESCENCE,
    add_model,
    arguments,
    dsb_pairs,
    machine,
    open_model,
    report,
    say,
)
from napari_unet import PredictConfig, evaluate
from napari_unet.engine.drain import drain
from napari_unet.engine.instances import labels_from_scores
from napari_unet.engine.model import new_model
from napari_unet.engine.networks.folded import folded
from napari_unet.engine.normalize import normalize, statistics
from napari_unet.engine.precision import best_dtype
from napari_unet.engine.spec import ModelSpec, UNetSpec
from napari_unet.engine.tile_runner import TileRunner

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_unet.engine.model import Model

    Way = Callable[[], NDArray[np.float32]]

WIDTHS = {
    "recipe": (16, 32, 64, 128, 256), "wide": (64, 128, 256, 512, 1024),
    "volume": (16, 32, 64),
}  # fmt: skip
EAGER = "network(image)"


def main() -> None:
    options = _options()
    began = machine()
    rows: list[dict[str, Any]] = []
    for name in options.networks:
        found = speed_of(name, options)
        rows += found
        for row in found:
            say(str(row))
    facts = {}
    if "seed" in options.networks and not options.tiles:
        model = network_of("seed", options)
        facts["logits, tiled to whole"] = logits_apart(model, mosaic(options.size))
        say(str(facts))
    report("predict", rows, facts, options, began)


def _options() -> argparse.Namespace:
    parser = arguments(__doc__)
    add_model(parser)
    parser.add_argument("--size", type=int, default=2048, help="pixels a side")
    parser.add_argument("--depth", type=int, default=64, help="slices of a volume")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch; its own choice else")
    parser.add_argument("--tiles", action="store_true", help="tiled against whole only")
    parser.add_argument(
        "--networks", nargs="+", default=["seed"], choices=["seed", *WIDTHS]
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    return options


def mosaic(size: int, nuclei: int = 0) -> NDArray[np.uint8]:
    """Return real images side by side, (size, size).

    Those come first that have about so many ``nuclei``; 0: any.
    """
    side, images = 256, []
    for pair in dsb_pairs("train", FLUORESCENCE[:1]):
        image, truth = pair.read()
        if image.shape[:2] == (side, side):
            away = abs(len(np.unique(truth)) - 1 - nuclei) if nuclei else 0
            images.append((away, image if image.ndim == 2 else image[..., 0]))
    images.sort(key=lambda pair: pair[0])
    many = -(-size // side)
    rows = [
        np.concatenate(
            [images[(many * y + x) % len(images)][1] for x in range(many)], axis=1
        )
        for y in range(many)
    ]
    return np.ascontiguousarray(np.concatenate(rows)[:size, :size])


def network_of(name: str, options: argparse.Namespace) -> Model:
    """Return the model of a name; but for the bundled one, of random weights."""
    if name == "seed":
        return open_model(options.model)
    volume = name == "volume"
    spec = UNetSpec(
        dims=3 if volume else 2, widths=WIDTHS[name], out_channels=2,
        norm="batch" if volume else "none",
    )  # fmt: skip
    return new_model(ModelSpec(name=name, architecture=spec, output="instances"))


def speed_of(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every way to get the scores of one image with one network."""
    model = network_of(name, options)
    image: NDArray[Any] = mosaic(options.size)
    if name == "volume":
        side = max(options.size // 8, 64)
        image = np.stack([image[i : i + side, :side] for i in range(options.depth)])
    ways = tile_ways(model, image) if options.tiles else ways_of(model, image)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    scores: dict[str, NDArray[np.float32]] = {}
    for _ in range(options.repeats):
        for way, run in ways.items():
            start = time.perf_counter()
            scores[way] = run()
            seconds[way].append(time.perf_counter() - start)
    first = next(iter(ways))
    exact = scores[first]
    return [
        {
            "network": name, "way": way, "seconds": median(seconds[way]),
            "Mpix/s": image.size / 1e6 / median(seconds[way]),
            f"x {first}": median(seconds[first]) / median(seconds[way]),
            "largest difference of scores": float(np.abs(scores[way] - exact).max()),
            "Dice of labels": dice(scores[way], exact, model),
        }
        for way in ways
    ]  # fmt: skip


def logits_apart(model: Model, image: NDArray[Any]) -> float:
    """Return the largest difference of logits, tiled against the network itself."""
    raw = replace(model, spec=model.spec.model_copy(update={"activation": "none"}))
    whole = eager(raw, tensor_of(raw, image))
    return float(np.abs(predicted(raw, image, "float32") - whole).max())


def dice(
    scores: NDArray[np.float32], exact: NDArray[np.float32], model: Model
) -> float:
    """Return how far the labels agree."""
    config, output = PredictConfig(), model.spec.output
    one, other = (labels_from_scores(s, output, config) for s in (scores, exact))
    return float(evaluate(one, other)["dice"]) if other.any() else float("nan")


def tensor_of(model: Model, image: NDArray[Any]) -> torch.Tensor:
    """Return the image as the network takes it, as the prediction makes it."""
    stats = statistics(image[None], model.spec.normalization)
    return torch.from_numpy(normalize(image[None], stats))[None]


@torch.inference_mode()
def eager(model: Model, x: torch.Tensor) -> NDArray[np.float32]:
    """Return scores of the whole image by the network itself."""
    return np.asarray(model.scores(x)[0].numpy())


def ways_of(model: Model, image: NDArray[Any]) -> dict[str, Way]:
    """Return all ways, the plain one first."""
    x = tensor_of(model, image)
    ways: dict[str, Way] = {EAGER: lambda: eager(model, x)}
    ways["predict, float32"] = lambda: predicted(model, image, "float32")
    ways["predict, auto"] = lambda: predicted(model, image, "auto")
    try:
        from monai.inferers import sliding_window_inference
    except ImportError:
        return ways

    def sliding(overlap: float, mode: str) -> NDArray[np.float32]:
        with torch.inference_mode():
            window = (256, 256) if image.ndim == 2 else (32, 96, 96)
            found = sliding_window_inference(
                x, window, 4, model.scores, overlap=overlap, mode=mode
            )
        return np.asarray(found[0].numpy())

    ways["MONAI, overlap 0.25"] = lambda: sliding(0.25, "constant")
    ways["MONAI, overlap 0.5 gaussian"] = lambda: sliding(0.5, "gaussian")
    return ways


def tile_ways(model: Model, image: NDArray[Any]) -> dict[str, Way]:
    """Return the folded network on the whole image, and the tiled prediction."""
    x = tensor_of(model, image)
    layout: Any = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    less: Any = folded(model.network)  # type: ignore[arg-type]  # a graph's
    ways: dict[str, Way] = {}
    stats = statistics(image[None], model.spec.normalization)
    region = tuple(slice(0, n) for n in image.shape)
    auto = best_dtype(model, "auto", image[None], stats, region)
    for dtype in {torch.float32, auto}:
        name = str(dtype).removeprefix("torch.")

        def whole(dtype: torch.dtype = dtype) -> NDArray[np.float32]:
            network = less.to(dtype=dtype, memory_format=layout)
            with torch.inference_mode():
                given = x.to(dtype).contiguous(memory_format=layout)
                return np.asarray(network(given)[0].float().sigmoid().numpy())

        ways[f"folded whole, {name}"] = whole
        ways[f"tiled, {name}"] = partial(predicted, model, image, name)
    return ways


def predicted(model: Model, image: NDArray[Any], precision: str) -> NDArray[np.float32]:
    """Return the scores that the product gives, statistics of the image included."""
    stats = statistics(image[None], model.spec.normalization)
    config = PredictConfig.model_validate({"precision": precision})
    region = tuple(slice(0, n) for n in image.shape)
    dtype = best_dtype(model, config.precision, image[None], stats, region)
    runner = TileRunner(model, config, 1, dtype)
    looks = runner.looks(region, several=False, spread=False)
    drain(runner.look(image[None], stats, region, looks))
    return looks.mean()


if __name__ == "__main__":
    main()
