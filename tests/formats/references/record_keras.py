"""Write small files of Keras and what Keras gives for an input. Needs keras 3 and h5py.

Run ``KERAS_BACKEND=torch python record_keras.py``; each ``keras_<name>.npz`` holds the
``content`` of a file and its ``suffix``, ``x`` and ``y`` as Keras takes and gives them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import keras
import numpy as np
from keras import Model, layers, ops

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent
Tensor = Any


def conv(x: Tensor, width: int, kernel: int = 3, **options: Any) -> Tensor:
    options = {"activation": "relu", "padding": "same", **options}
    return layers.Conv2D(width, kernel, **options)(x)


def conv_norm_relu(x: Tensor, width: int, **norm: Any) -> Tensor:
    x = conv(x, width, activation=None, use_bias=False)
    return layers.Activation("relu")(layers.BatchNormalization(**norm)(x))


def u(
    x: Tensor, block: Callable[..., Tensor], up: Callable[..., Tensor],
    join: Callable[..., Tensor] | None = None,
    down: Callable[..., Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Return a U-Net of three levels, of 2, 4 and 8 channels."""
    join = join or (lambda a, b: layers.concatenate([a, b]))
    down = down or (lambda a, width: layers.MaxPooling2D(2)(a))
    skips = []
    for width in (2, 4):
        x = block(x, width)
        skips.append(x)
        x = down(x, width)
    x = block(x, 8)
    for width in (4, 2):
        x = block(join(up(x, width), skips.pop()), width)
    return x


def transposed(x: Tensor, width: int) -> Tensor:
    return layers.Conv2DTranspose(width, 2, strides=2, padding="same")(x)


def twice(x: Tensor, width: int) -> Tensor:
    x = conv(x, width, kernel_initializer="he_normal")
    return conv(layers.Dropout(0.1)(x), width)


def recipe() -> Model:
    x = start = layers.Input((32, 32, 3))
    x = layers.Lambda(lambda image: image / 255)(x)
    return Model(start, conv(u(x, twice, transposed), 1, 1, activation="sigmoid"))


def rescaled() -> Model:
    x = start = layers.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    x = u(x, conv_norm_relu, lambda a, width: layers.UpSampling2D(2)(a))
    return Model(start, conv(x, 1, 1, activation="sigmoid"))


def bilinear() -> Model:
    def block(x: Tensor, width: int) -> Tensor:
        x = conv(x, width, activation=None)
        x = layers.BatchNormalization(scale=False, epsilon=1e-4)(x)
        return layers.LeakyReLU(negative_slope=0.17)(x)

    def up(x: Tensor, width: int) -> Tensor:
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        return conv(x, width, 2)

    def join(a: Tensor, b: Tensor) -> Tensor:
        return layers.concatenate([b, a])

    x = start = layers.Input((64, 64, 1))
    return Model(start, conv(u(x, block, up, join), 1, 1, activation="sigmoid"))


def odd_strides() -> Model:
    def block(x: Tensor, width: int) -> Tensor:
        return layers.ELU(0.7)(conv(x, width, activation="elu", dilation_rate=2))

    def up(x: Tensor, width: int) -> Tensor:
        return layers.Conv2DTranspose(width, 3, 2, "same", activation="relu")(x)

    def down(x: Tensor, width: int) -> Tensor:
        x = conv(x, width, 3, strides=2)
        return layers.Conv2DTranspose(width, 2, padding="same")(conv(x, width, 4))

    x = start = layers.Input((None, None, 2))
    return Model(start, conv(u(x, block, up, None, down), 1, 1, activation=None))


def separable() -> Model:
    def block(x: Tensor, width: int) -> Tensor:
        x = layers.SeparableConv2D(width, 3, padding="same", depth_multiplier=2)(x)
        x = layers.PReLU(shared_axes=[1, 2], alpha_initializer="uniform")(x)
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        return layers.ReLU(max_value=6)(x)

    def down(x: Tensor, width: int) -> Tensor:
        return layers.MaxPooling2D(3, 2, padding="same")(x)

    x = start = layers.Input((None, None, 3))
    x = u(x, block, transposed, None, down)
    return Model(start, layers.Activation("sigmoid")(conv(x, 2, 1, activation=None)))


def added() -> Model:
    def block(x: Tensor, width: int) -> Tensor:
        y = layers.GroupNormalization(2, epsilon=0.01)(
            conv(x, width, activation="swish")
        )
        y = layers.LayerNormalization(epsilon=0.1)(conv(y, width, activation=None))
        return layers.Activation("gelu")(y + conv(x, width, 1, activation=None))

    def join(a: Tensor, b: Tensor) -> Tensor:
        return layers.Average()([layers.Add()([a, b]), layers.Subtract()([a, b])])

    x = start = layers.Input((None, None, 1))
    x = u(x, block, transposed, join)
    return Model(start, conv(x, 4, 1, activation="softmax"))


def gated() -> Model:
    def join(up: Tensor, skip: Tensor) -> Tensor:
        width = skip.shape[-1]
        both = conv(skip, width, 1, activation=None) + conv(up, width, 1)
        gate = conv(layers.ReLU()(both), 1, 1, activation="sigmoid")
        mean = layers.GlobalAveragePooling2D()(skip)
        weights = layers.Dense(width, activation="hard_sigmoid")(mean)
        weights = layers.Reshape((1, 1, width))(weights)
        skip = layers.Multiply()([skip, gate])
        return layers.concatenate([layers.multiply([skip, weights]), up])

    x = start = layers.Input((None, None, 1))
    x = u(x, twice, transposed, join)
    first = conv(x, 1, 1, activation="sigmoid", name="main")
    coarse = conv(layers.AveragePooling2D(2)(x), 1, 1, activation="sigmoid")
    return Model(start, [coarse, first])


def volume() -> Model:
    x = start = layers.Input((8, 16, 16, 1))
    first = x = layers.Conv3D(2, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling3D((1, 2, 2))(x)
    second = x = layers.Conv3D(4, 3, padding="same", activation="relu")(x)
    x = layers.Conv3D(4, 3, 2, "same")(layers.BatchNormalization()(x))
    x = layers.Conv3DTranspose(4, 2, 2, "same")(layers.SpatialDropout3D(0.2)(x))
    x = layers.concatenate([x, second])
    x = layers.UpSampling3D((1, 2, 2))(layers.Conv3D(2, 3, padding="same")(x))
    x = layers.concatenate([x, first])
    return Model(start, layers.Softmax()(layers.Conv3D(3, 1)(x)))


def nested() -> Model:
    first = layers.Input((None, None, 3))
    encoder = Model(first, [twice(first, 2), conv(layers.MaxPooling2D()(first), 4)])
    block = keras.Sequential([
        layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(),
        layers.LeakyReLU(),
    ])  # fmt: skip
    x = start = layers.Input((None, None, 3))
    skip, x = encoder(x)
    x = layers.concatenate([transposed(block(block(x)), 2), skip])
    return Model(start, conv(twice(x, 2), 1, 1, activation="sigmoid"))


def padded() -> Model:
    """Return a network whose sizes are kept by layers of their own."""
    x = start = layers.Input((None, None, 4))
    normal = layers.Normalization(
        axis=-1, mean=[0.3, 0.5, 0.7, 0.9], variance=[4, 1, 9, 2]
    )
    first = x = conv(normal(x), 4, 3, groups=2)
    x = layers.ZeroPadding2D(((1, 0), (1, 0)))(x)
    x = conv(x, 8, 3, strides=2, padding="valid")
    x = layers.ZeroPadding2D(1)(layers.AveragePooling2D(3, 1, padding="same")(x))
    x = layers.Cropping2D(((2, 0), (0, 2)))(x)
    x = layers.Conv2DTranspose(4, 4, 2, padding="valid")(x)
    x = layers.Cropping2D(1)(x)
    x = layers.concatenate([x, first])
    return Model(start, layers.Dense(2, activation="softmax")(x))


def operations() -> Model:
    x = start = layers.Input((None, None, 1))
    x = conv((x - 3) / 255.0 * 2, 2, activation=None)
    first = x = ops.relu(x)
    x = conv(layers.GaussianNoise(0.1)(layers.MaxPooling2D()(x)), 4, activation="mish")
    x = ops.concatenate([transposed(x, 2), first], axis=-1) + 0.5
    return Model(start, ops.sigmoid(conv(x, 1, activation=None)))


def channels_first() -> Model:
    first = {"data_format": "channels_first"}
    x = start = layers.Input((3, None, None))
    skip = x = layers.Conv2D(2, 3, padding="same", activation="relu", **first)(x)
    x = layers.MaxPooling2D(**first)(layers.BatchNormalization(axis=1)(x))
    x = layers.Conv2D(4, 3, padding="same", **first)(x)
    x = layers.PReLU(shared_axes=[2, 3])(x)
    x = layers.UpSampling2D(**first)(x)
    x = layers.Concatenate(axis=1)([skip, x])
    return Model(start, layers.Conv2D(1, 1, activation="sigmoid", **first)(x))


def chain() -> Model:
    """Return a Sequential network: no skips, but pixels in and pixels out."""
    return keras.Sequential([
        layers.Input((None, None, 1)), layers.Rescaling(1 / 255),
        layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),
    ])  # fmt: skip


def unpadded() -> Model:
    """Return a network of "valid" convolutions, smaller at its end."""
    x = start = layers.Input((44, 44, 1))
    first = x = layers.Conv2D(2, 3, activation="relu")(x)
    x = layers.Conv2D(4, 3, activation="relu")(layers.MaxPooling2D()(x))
    x = layers.Conv2DTranspose(2, 2, 2)(x)
    x = layers.concatenate([x, layers.Cropping2D(2)(first)])
    return Model(start, layers.Conv2D(1, 3, activation="sigmoid")(x))


SIZE = (32, 48)
RAW = ("recipe", "rescaled", "chain", "operations")  # scale 0 to 255 inside
NETWORKS: dict[str, tuple[Callable[[], Model], str, tuple[int, ...]]] = {
    "recipe": (recipe, ".h5", (32, 32, 3)),
    "recipe_weights": (recipe, ".weights.h5", (32, 32, 3)),
    "recipe_keras2_weights": (recipe, ".hdf5", (32, 32, 3)),
    "rescaled": (rescaled, ".keras", (*SIZE, 3)),
    "rescaled_weights": (rescaled, ".weights.h5", (*SIZE, 3)),
    "bilinear": (bilinear, ".keras", (64, 64, 1)),
    "odd_strides": (odd_strides, ".h5", (*SIZE, 2)),
    "separable": (separable, ".keras", (*SIZE, 3)),
    "added": (added, ".h5", (*SIZE, 1)),
    "gated": (gated, ".keras", (*SIZE, 1)),
    "volume": (volume, ".keras", (8, 16, 16, 1)),
    "nested": (nested, ".keras", (*SIZE, 3)),
    "nested_legacy": (nested, ".h5", (*SIZE, 3)),
    "padded": (padded, ".keras", (*SIZE, 4)),
    "operations": (operations, ".keras", (*SIZE, 1)),
    "channels_first": (channels_first, ".keras", (3, *SIZE)),
    "chain": (chain, ".h5", (*SIZE, 1)),
    "unpadded": (unpadded, ".keras", (44, 44, 1)),
}


def draw(model: Model, seed: int) -> None:
    """Give every weight a value that is not what it starts from."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if not str(weight.dtype).startswith("float"):
            continue
        value = keras.ops.convert_to_numpy(weight)
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(rng.uniform(0.5, 1.5, value.shape))
        elif value.ndim < 2:
            weight.assign(rng.normal(0.1, 0.3, value.shape))


def save_keras2_weights(model: Model, path: Path) -> None:
    """Write weights alone, by name, as Keras 2 does."""
    with h5py.File(path, "w") as file:
        names = [layer.name.encode() for layer in model.layers]
        file.attrs.update({
            "layer_names": names, "backend": b"tensorflow", "keras_version": b"2.4.0",
        })  # fmt: skip
        for layer in model.layers:
            group = file.create_group(layer.name)
            weights = {
                f"{layer.name}/{weight.name}:0": weight
                for weight in layer.trainable_variables
            }
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, weight in weights.items():
                group[name] = keras.ops.convert_to_numpy(weight)


def write(name: str) -> None:
    """Make one network, save it, and write what it gives."""
    make, suffix, size = NETWORKS[name]
    x = np.random.default_rng(7).integers(0, 256, (1, *size), np.uint8)
    divisor = 1 if name.startswith(RAW) else 255
    for seed in range(50):
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        model = make()
        draw(model, seed)
        y = model.predict(x.astype(np.float32) / np.float32(divisor), verbose=0)
        y = y[-1] if isinstance(y, list) else y
        if np.std(y) > 0.02 and 0.05 < np.mean(y) < 0.95:
            break
    else:
        raise ValueError(f"{name} says the same of all pixels")
    np.savez_compressed(
        FOLDER / f"keras_{name}.npz", x=x, y=y, divisor=divisor, suffix=suffix,
        content=np.frombuffer(saved(model, suffix), np.uint8),
    )  # fmt: skip


def saved(model: Model, suffix: str) -> bytes:
    """Return the bytes of the file that Keras writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{suffix}"
        if suffix == ".hdf5":
            save_keras2_weights(model, path)
        elif suffix == ".weights.h5":
            model.save_weights(path)
        else:
            model.save(path)
        return path.read_bytes()


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NETWORKS:
        write(chosen)
