"""Arrays, tensors, networks: no Qt, no napari, no files, no globals."""
