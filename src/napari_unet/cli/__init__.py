"""The command ``napari-unet``. Importing it loads no torch, no napari and no Qt."""

from napari_unet.cli.app import app, main

__all__ = ["app", "main"]
