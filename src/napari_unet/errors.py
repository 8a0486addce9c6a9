"""What can go wrong in the user's hands, as sentences the user can act on.

Each message says what was found, what was expected and what to do. None of these
classes derives from RuntimeError: generator workers of Qt libraries swallow those.
"""


class UnetError(Exception):
    """Something the user can mend; the message is one plain sentence."""


class CheckpointError(UnetError):
    """A checkpoint that cannot be opened, and why."""


class ImageError(UnetError):
    """An image that the model cannot use as it is."""


class LabelsError(UnetError):
    """Labels that do not fit the image, or hold something else than labels."""


class TrainingError(UnetError):
    """Training that cannot start, or that had to stop."""


class DeviceError(UnetError):
    """A device that is absent or out of memory."""


class ProgramError(UnetError):
    """A network that is a program, and failed to compute."""


class Interrupted(UnetError):
    """Work that ended before its time because the user cancelled it."""


class OutputError(UnetError):
    """A file or folder that cannot be written."""


class ProjectError(UnetError):
    """A project folder that cannot be opened, or not as it is."""
