"""Images, masks and folders of them, on disk."""
