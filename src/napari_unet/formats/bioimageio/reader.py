"""Packages of BioImage.IO: any of their weights, with what they say around them.

Nothing of a package's own code is imported or run. Its test image is put through what
was opened, so that what the weights leave open is settled by the maker's own output.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_unet.errors import CheckpointError, ProgramError
from napari_unet.formats.bioimageio.archive import SUFFIXES, is_package, opened
from napari_unet.formats.bioimageio.description import describe
from napari_unet.formats.bioimageio.document import LARGEST, parse, words
from napari_unet.formats.bioimageio.meaning import (
    described,
    meaning_of,
    with_activation,
)
from napari_unet.formats.bioimageio.trial import trial_of
from napari_unet.formats.bioimageio.weights import (
    Room,
    Wanted,
    candidates,
    unknown_kinds,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_unet.engine.model import Model
    from napari_unet.engine.spec import Activation
    from napari_unet.errors import UnetError
    from napari_unet.formats.bioimageio.archive import Package
    from napari_unet.formats.bioimageio.description import Description
    from napari_unet.formats.bioimageio.meaning import Meaning
    from napari_unet.formats.bioimageio.trial import Trial
    from napari_unet.formats.bioimageio.weights import Candidate
    from napari_unet.formats.interrupt import Interrupt

ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "softmax")
FINAL: dict[str, Activation] = {"sigmoid": "sigmoid", "softmax": "softmax"}
PATIENCE = 15.0  # seconds, after which no further reading is tried


def matches(path: Path, head: bytes) -> bool:
    """Tell whether a zip archive, a folder or a YAML file is a package.

    Parameters
    ----------
    path : of a file or folder
    head : its first bytes; empty for a folder
    """
    if path.is_dir() or head.startswith(b"PK\x03\x04"):
        return is_package(path)
    return path.suffix.lower() in SUFFIXES


def load(
    path: Path, wanted: str = "", trust: bool = False,
    interrupt: Interrupt | None = None,
) -> Model:  # fmt: skip
    """Open a BioImage.IO package; nothing of its own code is run without trust.

    Parameters
    ----------
    path : a zip archive, a folder, or an rdf.yaml in a folder
    wanted : the reading of the weights that the user asks for, "" for the likeliest
    trust : whether weights that are programs (TorchScript) may run
    interrupt : ends a wait from another thread

    Raises
    ------
    CheckpointError
        If none of its weights can be opened, or it describes no segmentation.
    """
    with opened(path) as package:
        content = parse(path.name, package.read(package.description, LARGEST))
        description = describe(path.name, content)
        meaning = meaning_of(path.name, description)
        trial, why_not = trial_of(package, meaning)
        opening = _Opening(package, description, meaning, trial, why_not)
        return opening.best(Wanted(wanted, trust, interrupt))


@dataclass(frozen=True)
class _Opening:
    """A package whose weights are being tried one after another."""

    package: Package
    description: Description
    meaning: Meaning
    trial: Trial | None
    why_not: str

    def best(self, wanted: Wanted) -> Model:
        """Return the first that reproduces the test output, else the first at all."""
        problems: list[tuple[str, UnetError]] = []
        unlike: Model | None = None
        one_size: Model | None = None
        for candidate in candidates(self.description):
            if candidate.tried_only and self.trial is None:
                continue
            if unlike is not None and candidate.program:
                break
            try:
                model = self._opened(candidate, wanted)
                found, difference = self._tried(model, candidate, wanted)
            except (CheckpointError, ProgramError) as problem:
                if not candidate.tried_only:
                    problems.append((candidate.kind, problem))
                continue
            said = self._remarked(found, candidate, problems, difference)
            alike = self.trial is None or self.trial.same(difference)
            if alike and getattr(found.spec.architecture, "fit", "") != "fixed":
                return said
            if alike:  # takes one size only: another file may take all
                one_size = one_size or said
            elif not candidate.tried_only:
                unlike = unlike or said
        if one_size or unlike:
            return one_size or unlike  # type: ignore[return-value]  # one of them is there
        raise self._refusal(problems)

    def _opened(self, candidate: Candidate, wanted: Wanted) -> Model:
        """Open a file of weights and put in what the description says."""
        if candidate.kind in ("pytorch_state_dict", "onnx", "torchscript"):
            self._check_axes()
        model = candidate.open(self.package, wanted, Room())
        if candidate.kind not in self.description.weights:
            return model  # our own file knows all that there is to know
        spec = described(model.spec, self.description, self.meaning)
        last = self._inside(candidate)
        return replace(model, spec=with_activation(spec, last) if last else spec)

    def _inside(self, candidate: Candidate) -> Activation | None:
        """Return what the weights end with where no later step makes scores.

        A program gives scores then; of a network's class the arguments may tell.
        """
        if self.meaning.finish.activation is not None:
            return None
        final = words(candidate.file.settings.get("final_activation")).lower()
        return "none" if candidate.program else FINAL.get(final)

    def _check_axes(self) -> None:
        if not self.meaning.channels_first:
            order = self.meaning.input.order
            raise CheckpointError(
                f"{self.package.name} takes images with the axes {order!r}, expected "
                "batch, channel, then space: choose another model."
            )

    def _tried(
        self, model: Model, candidate: Candidate, wanted: Wanted
    ) -> tuple[Model, float]:
        """Return the model, or a variant of it, that is nearest to the test output."""
        if self.trial is None:
            return model, float("inf")
        nearest = self._nearest(model, candidate)
        if self.trial.same(nearest[1]) or candidate.program or wanted.reading:
            return nearest
        began = time.perf_counter()
        for reading in model.spec.readings:
            if reading == model.spec.reading:
                continue
            if time.perf_counter() - began > PATIENCE:
                break
            try:
                other = self._opened(candidate, replace(wanted, reading=reading))
            except CheckpointError:
                continue
            nearest = min(nearest, self._nearest(other, candidate), key=_difference)
            if self.trial.same(nearest[1]):
                break
        return nearest

    def _nearest(self, model: Model, candidate: Candidate) -> tuple[Model, float]:
        """Return the model with the activation that is nearest to the test output."""
        if self.trial is None:
            return model, float("inf")
        logits = self.trial.logits(model)
        current = model.spec.likely_activation
        if candidate.program or candidate.kind not in self.description.weights:
            return model, self.trial.difference(logits, current, self.meaning)
        for activation in (current, *ACTIVATIONS):
            difference = self.trial.difference(logits, activation, self.meaning)
            if not self.trial.same(difference):
                continue
            if activation == self.meaning.finish.activation:
                return model, difference
            spec = with_activation(model.spec, activation)
            return replace(model, spec=spec), difference
        return model, self.trial.difference(logits, current, self.meaning)

    def _remarked(
        self, model: Model, candidate: Candidate,
        problems: list[tuple[str, UnetError]], difference: float,
    ) -> Model:  # fmt: skip
        """Return the model with remarks on how it was opened."""
        said = [f"weights taken: {candidate.kind}"]
        if candidate.tried_only:
            said.append("its program was not run, only its weights were read")
        said += [
            f"its {kind} could not be opened ({problem})" for kind, problem in problems
        ]
        if self.trial is None:
            said.append(self.why_not)
        elif self.trial.same(difference):
            said.append(
                f"reproduces its test output (largest difference {difference:.1e})"
            )
        else:
            said.append(
                f"does not reproduce its test output (largest difference "
                f"{difference:.2g}): check a prediction by eye"
            )
        spec = model.spec.model_copy(update={"remarks": (*model.spec.remarks, *said)})
        return replace(model, spec=spec)

    def _refusal(self, problems: list[tuple[str, UnetError]]) -> CheckpointError:
        """Return why none of the weights could be opened."""
        name = self.package.name
        if len(problems) == 1:
            kind, problem = problems[0]
            if str(problem).startswith(name):
                return CheckpointError(str(problem))
            return CheckpointError(f"{name}: its {kind} cannot be opened: {problem}")
        if problems:
            told = "; ".join(f"{kind}: {problem}" for kind, problem in problems)
            return CheckpointError(f"None of the weights in {name} opens: {told}")
        others = ", ".join(unknown_kinds(self.description))
        held = f"weights of the kind {others}" if others else "no weights"
        return CheckpointError(
            f"{name} holds {held}, expected pytorch_state_dict, keras_hdf5, "
            "onnx or torchscript: choose another model."
        )


def _difference(one: tuple[Model, float]) -> float:
    return one[1]
