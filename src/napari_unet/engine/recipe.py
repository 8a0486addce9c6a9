"""What a fine-tuning was made of, so that it can be repeated. Imports no torch.

A fine-tuning depends on nothing but the weights it started from, the images, the labels
where something is supervised, the settings, what was sent in meanwhile, and the machine
that computes. A recipe names the first two and holds the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from napari_unet.engine.config import FinetuneConfig, Frozen
from napari_unet.engine.spec import ModelSpec

MOST_THREADS = 1024
MOST_DRAFTS = 50  # that one after another were learnt on from, and never kept
Count = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # micrometres
Length = Annotated[int, Field(ge=1, le=2**31)]
Key = tuple[Count, ...]  # a block's place in the grid, see ``engine/blocks.py``


class Machine(Frozen):
    """What computed; another one may round in another way.

    Attributes
    ----------
    device : "cpu", "cuda" or "mps"
    processor : its name, as far as it is known
    dtype : number format of the computation
    threads : that torch used
    torch, program : their versions
    """

    device: str
    processor: str
    dtype: str
    threads: int = Field(ge=1, le=MOST_THREADS)
    torch: str
    program: str


class Beginning(Frozen):
    """Weights that a fine-tuning started from, or could have.

    Attributes
    ----------
    number : of the version; 0: a draft that was never kept
    spec : what was known of the model at that moment
    weights : their SHA-256
    channels_last : how they lay in memory, on which rounding depends
    elder : SHA-256 of the weights of the network beside them; "": there is none, or
        nobody took it down
    """

    number: Count
    spec: ModelSpec
    weights: str
    channels_last: bool
    elder: str = ""


class TaughtImage(Frozen):
    """An image that was learnt from; it is not in the recipe.

    Attributes
    ----------
    name : as the user calls it
    fingerprint : see ``io/fingerprint.py``
    axes : one letter per axis of the image
    shape : of its labels
    pixel_size, channel : as for ``predict``
    """

    name: str
    fingerprint: str
    axes: str
    channel: Count | None = None
    pixel_size: tuple[Side, ...] | None = Field(None, max_length=3)
    shape: tuple[Length, ...] = Field(min_length=2, max_length=12)


class Taught(Frozen):
    """What was corrected in one image at one moment.

    Attributes
    ----------
    image : which of the images
    blocks : the block's place in the grid, and which of the recipe's blocks it is
    """

    image: Count
    blocks: tuple[tuple[Key, Count], ...]


class Moment(Frozen):
    """All that was corrected when a fine-tuning began, or when more joined it.

    Attributes
    ----------
    event : what was sent in answered this one, counted from 0
    step : after which it was learnt from
    taught : the images in the order in which they were learnt from
    """

    event: Count
    step: Count
    taught: tuple[Taught, ...]


class Account(Frozen):
    """One fine-tuning.

    Attributes
    ----------
    config : see FinetuneConfig
    model : in use
    base : as it was loaded; None: the same
    draft : the draft that learning could go on with, made by the account before this
        one; None: there was none
    memory : name of the bundled model whose images were remembered; "": none
    images : that were learnt from
    begun : what was corrected at the beginning
    joined : what was sent in later and learnt from
    stop : the event after which it was told to stop; None: it was not
    start : where learning started in the end
    steps : that were made
    random : state of torch's random numbers, in base64; "": nothing asks for it
    machine : that computed
    weights, elder : SHA-256 of those that came out; see Beginning
    """

    config: FinetuneConfig
    model: Beginning
    base: Beginning | None = None
    draft: Beginning | None = None
    memory: str = ""
    images: tuple[TaughtImage, ...]
    begun: Moment
    joined: tuple[Moment, ...] = ()
    stop: Count | None = None
    start: str = "current"
    steps: Count = 0
    random: str = Field("", max_length=2**20)
    machine: Machine
    weights: str
    elder: str = ""

    @model_validator(mode="after")
    def _images_are_there(self) -> Account:
        for moment in (self.begun, *self.joined):
            if any(each.image >= len(self.images) for each in moment.taught):
                raise ValueError("an image is missing")
        return self


@dataclass(frozen=True)
class Recipe:
    """How a version of a model was made.

    Attributes
    ----------
    accounts : the last one is of the version, those before of drafts that it used
    blocks : labels and what is supervised of them, compressed; see ``io/recipes.py``
    """

    accounts: tuple[Account, ...]
    blocks: tuple[bytes, ...]

    @property
    def account(self) -> Account:
        """Of the version."""
        return self.accounts[-1]


@dataclass(frozen=True)
class Descent:
    """What a fine-tuning starts from, in the session's numbers.

    Attributes
    ----------
    number : of the version in use
    base : of the version as it was loaded; None: there is none
    draft : how the last draft was made; None: there is none
    memory : name of the bundled model that shall be remembered; "": none
    """

    number: int
    base: int | None = None
    draft: Recipe | None = None
    memory: str = ""
