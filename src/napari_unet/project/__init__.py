"""An open project: what of it is on disk, and what is still to be written."""
