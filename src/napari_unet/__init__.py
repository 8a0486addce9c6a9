"""A napari workbench for U-Nets: load, predict, correct, finetune.

Importing this package imports neither torch nor Qt; each name below is imported when it
is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_unet.engine.config import FinetuneConfig, PredictConfig
    from napari_unet.engine.finetune import FinetuneResult, finetune
    from napari_unet.engine.metrics import evaluate
    from napari_unet.engine.model import Model
    from napari_unet.engine.predict import Prediction, predict
    from napari_unet.engine.sampling import Example
    from napari_unet.engine.spec import ModelSpec
    from napari_unet.errors import UnetError
    from napari_unet.formats import load_model, save_model

__version__ = "0.1.0"

_HOMES = {
    "Example": "engine.sampling",
    "FinetuneConfig": "engine.config",
    "FinetuneResult": "engine.finetune",
    "Model": "engine.model",
    "ModelSpec": "engine.spec",
    "PredictConfig": "engine.config",
    "Prediction": "engine.predict",
    "UnetError": "errors",
    "evaluate": "engine.metrics",
    "finetune": "engine.finetune",
    "load_model": "formats",
    "predict": "engine.predict",
    "save_model": "formats",
}

__all__ = [
    "Example",
    "FinetuneConfig",
    "FinetuneResult",
    "Model",
    "ModelSpec",
    "PredictConfig",
    "Prediction",
    "UnetError",
    "evaluate",
    "finetune",
    "load_model",
    "predict",
    "save_model",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted([*globals(), *__all__])
