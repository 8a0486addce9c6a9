"""Lessons: the corrections, a teacher elsewhere, memory, hard places more often."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_unet.engine.config import RecallDone
from napari_unet.engine.learner import Lesson
from napari_unet.engine.lessons import course_of
from napari_unet.engine.sampling import all_planes
from napari_unet.engine.scoring import (
    plane_labels,
    plane_scores,
    sight_and_trust,
    trust,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from napari_unet.engine.commands import Learn
    from napari_unet.engine.config import FinetuneConfig
    from napari_unet.engine.lessons import Course
    from napari_unet.engine.model import Model
    from napari_unet.engine.sampling import Example, Plane
    from napari_unet.engine.spec import ModelSpec

    Select = Callable[[Sequence[Example]], Sequence[Example]]

LARGEST = 2**22  # pixels in all whose errors are looked at again after each check
VIEWS = 2  # ways of seeing the same images that are kept
EVERY = 5  # one of so many remembered images only measures what was forgotten
SIZE = 15  # pixels over which an error makes its surroundings hard


class Teaching:
    """Gives lessons: corrections, the teacher elsewhere, hard places more often.

    Parameters
    ----------
    model : in use, the teacher
    course : what is to be learnt
    memory : what is to be remembered; may be empty
    config : see FinetuneConfig
    part : returns what is to be learnt of all that is corrected; None: all of it

    Attributes
    ----------
    joined : all that is corrected, as it was sent in last; None: nothing was
    """

    def __init__(
        self, model: Model, course: Course, memory: Sequence[Plane],
        config: FinetuneConfig, part: Select | None = None,
    ) -> None:  # fmt: skip
        self.teacher = model
        self.part = part
        self.joined: Sequence[Example] | None = None
        self.memory = memory
        self.config = config
        self.planes = self._prepared(course)

    def _prepared(self, course: Course) -> list[Plane]:
        """Return the planes to learn from; the teacher is followed elsewhere."""
        self.course = course
        self.trusted = self.trust_in(self.teacher)
        if self.config.teacher <= 0:
            return course.training
        return taught_elsewhere(course.training, self.teacher)

    def trust_in(self, model: Model) -> float:
        """Return how right a model is on all that is corrected, 0 to 1.

        Where only background is corrected, every model is wrong there, also one that
        is right about all the rest; then it is how far it sees what there is.
        """
        course = self.course
        if course.only_background:
            return sight_and_trust(model, course.training)[0]
        both = course.training + (course.checking if course.honest else [])
        return trust(model, both)

    def __call__(self, model: Model, more: Learn | None = None) -> Lesson:
        """Return what a model is to learn next."""
        if more is not None:
            self.joined = examples = more.examples
            if self.part is not None:
                examples = self.part(examples)
            course = course_of(examples, model, self.config)
            self.planes = self._prepared(course)
        hard = with_hard_places(self.planes, model)
        return lesson_of(hard, self.memory, self.config, self.trusted)


# -- teachers


def taught_elsewhere(planes: Sequence[Plane], teacher: Model) -> list[Plane]:
    """Return planes in which the teacher is followed where nothing was corrected."""
    found = []
    for plane in planes:
        corrected = plane.supervised
        if plane.held is not None:
            corrected = np.maximum(corrected, plane.held)
        scores = plane_scores(teacher, plane.image)
        found.append(replace(plane, teacher=scores, follow=1 - corrected))
    return found


class Memory:
    """Images of the kind that a model was trained on, so that it stays good at them.

    Parameters
    ----------
    examples : with the truth, which only measures what was forgotten
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self.examples = examples
        self._every: dict[tuple[object, ...], list[Plane]] = {}  # by who sees them
        self._teaching: tuple[object, ...] = ()  # whose scores, and for whom
        self._recalled: list[Plane] = []  # with the scores of the teacher

    def learnt(self, spec: ModelSpec) -> list[Plane]:
        """Return what is learnt, without a teacher's scores, as a model sees it."""
        every = self._planes(spec)
        return [plane for number, plane in enumerate(every) if number % EVERY]

    def measuring(self, spec: ModelSpec) -> list[Plane]:
        """Return what only measures, as a model sees it."""
        return self._planes(spec)[::EVERY]

    def _planes(self, spec: ModelSpec) -> list[Plane]:
        key = (*spec.task, spec.pixel_size)
        if key not in self._every:
            if len(self._every) == VIEWS:
                self._every = {}
            self._every[key] = all_planes(self.examples, spec)
        return self._every[key]

    def steps(
        self, teacher: Model, spec: ModelSpec
    ) -> Generator[RecallDone, Any, list[Plane]]:
        """Return what a model is to learn, with a teacher's scores.

        Of a teacher they are computed once, also if that is broken off.

        Parameters
        ----------
        teacher : the model for the images as they are
        spec : of the model that learns; it may take them in another way

        Yields
        ------
        RecallDone
        """
        learnt, known = self.learnt(spec), self.learnt(teacher.spec)
        teaching = teacher.network, spec.task
        if self._teaching != teaching:
            self._teaching, self._recalled = teaching, []
        for number in range(len(self._recalled), len(learnt)):
            scores = plane_scores(teacher, known[number].image)
            self._recalled.append(_recalled(learnt[number], scores))
            yield RecallDone(len(self._recalled), len(learnt))
        return self._recalled


def _recalled(plane: Plane, scores: NDArray[np.float32]) -> Plane:
    """Return a plane of which only a teacher's scores are learnt."""
    everywhere = np.ones_like(plane.supervised)
    nowhere = np.zeros_like(everywhere)
    return replace(plane, teacher=scores, follow=everywhere, supervised=nowhere)


# -- hard places


def with_hard_places(planes: Sequence[Plane], model: Model) -> list[Plane]:
    """Return planes that know how wrong a model is on their supervised pixels.

    Beyond LARGEST pixels in all, planes are left as they are.
    """
    found, room = [], LARGEST
    for plane in planes:
        room -= plane.labels.size
        found.append(plane if room < 0 else _with_errors(plane, model))
    return found


def _with_errors(plane: Plane, model: Model) -> Plane:
    predicted = plane_labels(model, plane.image)
    if model.spec.gives_objects:
        wrong = (predicted > 0) != (plane.labels > 0)
    else:
        wrong = predicted != plane.labels
    errors = wrong * plane.supervised[0]
    spread = ndimage.uniform_filter(errors.astype(np.float32), SIZE, mode="constant")
    return replace(plane, hard=np.minimum(3 * spread, 1)[np.newaxis])


def lesson_of(
    planes: Sequence[Plane], memory: Sequence[Plane], config: FinetuneConfig,
    trusted: float,
) -> Lesson:  # fmt: skip
    """Return a lesson; the teacher counts as much as it can be trusted."""
    return Lesson(planes, memory, config.teacher * trusted, config.remember)
