"""A package's steps before the network, as the one normalisation that does the same.

Steps are followed in order: what is done to raw intensities, which statistics of the
image are taken, what is done to the result. Linear steps before a statistic vanish in
it, those after it become its gain and shift.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_unet.engine.spec import Normalization
from napari_unet.formats.bioimageio.document import Malformed, number, numbers, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_unet.formats.bioimageio.tensors import Tensor

FAR = 1e30  # where a limit is not given
FLOATS = ("float16", "float32", "float64")
LETTERS = {"b": "batch", "c": "channel", "i": "index", "t": "time"}


class Unsupported(Exception):
    """A step that this program cannot do in the same way."""


@dataclass(frozen=True)
class _Done:
    """What the steps so far amount to.

    First ``gains`` and ``shifts`` of raw intensities, one or one per channel, within
    ``low`` and ``high``; then, where ``measured`` is not None, that statistic, whose
    gain, shift and limits hold what came after it.
    """

    gains: tuple[float, ...] = (1.0,)
    shifts: tuple[float, ...] = (0.0,)
    limits: tuple[float, float] | None = None
    measured: Normalization | None = None
    clipped: tuple[float, float] | None = None
    remarks: tuple[str, ...] = field(default=())


def normalization(tensor: Tensor) -> tuple[Normalization, tuple[str, ...]]:
    """Return what a tensor's steps do to raw intensities, and remarks.

    Parameters
    ----------
    tensor : an input

    Raises
    ------
    Unsupported
        If no normalisation of this program does the same.
    Malformed
        If a step lacks its numbers.
    """
    done = _Done()
    for step in tensor.steps:
        known = _STEPS.get(step.id)
        if known is None:
            raise Unsupported(f"the step {step.id!r}")
        done = known(done, step.settings, tensor)
    return _amounting_to(done), done.remarks


def _amounting_to(done: _Done) -> Normalization:
    if done.clipped is not None:
        raise Unsupported("percentile limits that no scaling follows")
    if done.measured is not None:
        return done.measured
    if (done.gains, done.shifts) == ((1.0,), (0.0,)) and done.limits is None:
        return Normalization(kind="none")
    if len(done.gains) == 1:
        gain, shift = done.gains[0], done.shifts[0]
        if done.limits is None and shift == 0 and 0 < gain < 1:
            return Normalization(kind="scale", divisor=1 / gain)
        return Normalization(kind="none", gain=gain, shift=shift, limits=done.limits)
    if min(done.gains) <= 0:
        raise Unsupported("channels that are turned over one by one")
    return Normalization(
        kind="fixed",
        means=tuple(-s / g for g, s in zip(done.gains, done.shifts, strict=True)),
        deviations=tuple(1 / g for g in done.gains),
        limits=done.limits,
    )


# -- steps


def _nothing(done: _Done, settings: dict[str, Any], tensor: Tensor) -> _Done:
    """Keep all as it is, unless values would be rounded on the way."""
    del tensor
    kind = words(settings.get("dtype"), 20)
    touched = done != replace(_Done(), remarks=done.remarks)
    if kind not in FLOATS and touched:
        raise Unsupported(f"rounding to {kind}")
    return done


def _linear(done: _Done, settings: dict[str, Any], tensor: Tensor) -> _Done:
    gains = numbers(settings.get("gain", 1.0), "gain")
    shifts = numbers(settings.get("offset", 0.0), "offset")
    _check_axis(settings, tensor, max(len(gains), len(shifts)))
    return _after(done, gains, shifts)


def _fixed(done: _Done, settings: dict[str, Any], tensor: Tensor) -> _Done:
    means = numbers(settings.get("mean"), "mean")
    stds = numbers(settings.get("std"), "std")
    if not means or not stds or min(stds) <= 0:
        raise Malformed("a mean or standard deviation is missing")
    eps = number(settings.get("eps", 0.0), "eps")
    _check_axis(settings, tensor, max(len(means), len(stds)))
    means, stds = _paired(means, stds)
    gains = tuple(1 / (std + eps) for std in stds)
    return _after(done, gains, tuple(-m * g for m, g in zip(means, gains, strict=True)))


def _after(done: _Done, gains: tuple[float, ...], shifts: tuple[float, ...]) -> _Done:
    """Add a linear step."""
    gains, shifts = _paired(gains, shifts)
    if 0.0 in gains:
        raise Malformed("a gain of 0")
    if done.clipped is not None:
        raise Unsupported("a linear scaling after percentile limits")
    if done.measured is None:
        old = _paired(done.gains, done.shifts)
        (ga, gb), (sa, sb) = _paired(old[0], gains), _paired(old[1], shifts)
        moved = tuple(s * g + t for s, g, t in zip(*_three(sa, gains, sb), strict=True))
        new = tuple(a * b for a, b in zip(ga, gb, strict=True))
        limits = _moved(done.limits, gains, shifts)
        return replace(done, gains=new, shifts=moved, limits=limits)
    if len(gains) > 1:
        raise Unsupported("a scaling of each channel after statistics of the image")
    gain, shift = gains[0], shifts[0]
    then = done.measured
    changed = then.model_copy(
        update={
            "gain": then.gain * gain, "shift": then.shift * gain + shift,
            "limits": _moved(then.limits, gains, shifts),
        }
    )  # fmt: skip
    return replace(done, measured=changed)


def _clip(done: _Done, settings: dict[str, Any], tensor: Tensor) -> _Done:
    percentiles = [settings.get(n) for n in ("min_percentile", "max_percentile")]
    if any(one is not None for one in percentiles):
        return _clip_percentiles(done, settings, tensor)
    low, high = (
        limit if settings.get(name) is None else number(settings[name], name)
        for name, limit in (("min", -FAR), ("max", FAR))
    )
    if low > high:
        raise Malformed(f"limits of {low:g} and {high:g}")
    if done.clipped is not None:
        raise Unsupported("limits after percentile limits")
    if done.measured is None:
        return replace(done, limits=_within(done.limits, low, high))
    limits = _within(done.measured.limits, low, high)
    return replace(done, measured=done.measured.model_copy(update={"limits": limits}))


def _clip_percentiles(done: _Done, settings: dict[str, Any], tensor: Tensor) -> _Done:
    """Note percentile limits, which a scaling to the same range must follow."""
    if done.measured or done.limits or settings.get("min") or settings.get("max"):
        raise Unsupported("percentile limits after other steps")
    low = number(settings.get("min_percentile") or 0, "min_percentile")
    high = number(settings.get("max_percentile") or 100, "max_percentile")
    _jointly(settings, tensor)
    return replace(done, clipped=(low, high))


def _range(done: _Done, settings: dict[str, Any], tensor: Tensor) -> _Done:
    reference = words(settings.get("reference_tensor"))
    if reference and reference != tensor.id:
        raise Unsupported(f"percentiles of the tensor {reference!r}")
    low = number(settings.get("min_percentile") or 0, "min_percentile")
    high = number(settings.get("max_percentile") or 100, "max_percentile")
    limits = None
    if done.clipped is not None:  # limited to percentiles, then scaled to 0 to 1
        if (low, high) != (0, 100):
            raise Unsupported("percentiles of what percentiles have limited")
        (low, high), limits = done.clipped, (0.0, 1.0)
    if not 0 <= low < high <= 100:
        raise Malformed(f"percentiles of {low:g} and {high:g}")
    kind = {"kind": "minmax"} if (low, high) == (0, 100) else {"kind": "percentile"}
    measured = Normalization.model_validate(
        {**kind, "low": low, "high": high, "limits": limits}
    )
    return _measure(replace(done, clipped=None), measured, settings, tensor)


def _moments(done: _Done, settings: dict[str, Any], tensor: Tensor) -> _Done:
    mode = words(settings.get("mode"), 20)
    if mode == "fixed" or (not mode and settings.get("mean") is not None):
        return _fixed(done, settings, tensor)
    if done.clipped is not None:
        raise Unsupported("mean and standard deviation within percentile limits")
    return _measure(done, Normalization(kind="zscore"), settings, tensor)


def _measure(
    done: _Done, measured: Normalization, settings: dict[str, Any], tensor: Tensor
) -> _Done:
    """Take a statistic of what was done so far; linear steps before it vanish."""
    together = _jointly(settings, tensor)
    if done.limits is not None or (done.measured and done.measured.limits):
        raise Unsupported("statistics of limited intensities")
    uneven = len(set(done.gains)) > 1 or len(set(done.shifts)) > 1
    earlier = done.measured is not None and not done.measured.together
    if together and (uneven or (earlier and (tensor.channels or 2) > 1)):
        raise Unsupported("statistics of channels that were scaled one by one")
    gain = done.gains[0] if done.measured is None else 1.0
    if min(done.gains) <= 0 or (done.measured and done.measured.gain <= 0):
        raise Unsupported("statistics of intensities that were turned over")
    eps = number(settings.get("eps", 1e-6), "eps") / gain
    if not 0 <= eps <= FAR:
        raise Malformed(f"eps of {eps:g}")
    remarks = done.remarks
    if words(settings.get("mode"), 20) == "per_dataset":
        remarks = (*remarks, "its statistics are of a whole dataset, here of one image")
    measured = measured.model_copy(update={"together": together, "eps": eps})
    return _Done(measured=measured, remarks=remarks)


_STEPS: dict[str, Callable[[_Done, dict[str, Any], Tensor], _Done]] = {
    "ensure_dtype": _nothing, "scale_linear": _linear, "clip": _clip,
    "scale_range": _range, "zero_mean_unit_variance": _moments,
    "fixed_zero_mean_unit_variance": _fixed,
}  # fmt: skip


# -- parts of steps


def _jointly(settings: dict[str, Any], tensor: Tensor) -> bool:
    """Return whether a statistic is over all channels; it must be over all of space."""
    given = settings.get("axes")
    if isinstance(given, str):  # format version 0.4: one letter per axis
        axes = {LETTERS.get(letter, letter) for letter in given}
    elif isinstance(given, list):
        axes = {words(axis, 20) for axis in given}
    else:
        axes = {axis.id for axis in tensor.axes} | {"channel"}
    if not {axis.id for axis in tensor.space} <= axes:
        raise Unsupported(f"statistics over {sorted(axes)} only")
    channel = tensor.axis("channel")
    return (
        channel is not None
        and bool({channel.id, "channel"} & axes)
        and (tensor.channels != 1)
    )


def _check_axis(settings: dict[str, Any], tensor: Tensor, count: int) -> None:
    """Refuse values along an axis that is not the channels'."""
    axis = words(settings.get("axis"), 20)
    channel = tensor.axis("channel")
    if count > 1 and axis and (channel is None or axis != channel.id):
        raise Unsupported(f"values along the axis {axis!r}")
    if count > 1 and tensor.channels not in (None, count):
        raise Malformed(f"{count} values for {tensor.channels} channels")


def _paired(
    first: tuple[float, ...], second: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return two of equal length; one value stands for many."""
    count = max(len(first), len(second))
    if not first or not second or {len(first), len(second)} - {1, count}:
        raise Malformed(f"{len(first)} and {len(second)} values")
    return (
        first * count if len(first) == 1 else first,
        second * count if len(second) == 1 else second,
    )


def _three(
    *given: tuple[float, ...],
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    count = max(map(len, given))
    first, second, third = (v * count if len(v) == 1 else v for v in given)
    return first, second, third


def _moved(
    limits: tuple[float, float] | None, gains: tuple[float, ...],
    shifts: tuple[float, ...],
) -> tuple[float, float] | None:  # fmt: skip
    """Return limits after a linear step."""
    if limits is None:
        return None
    if len(gains) > 1:
        raise Unsupported("limits of each channel")
    low, high = sorted(limit * gains[0] + shifts[0] for limit in limits)
    return low, high


def _within(
    limits: tuple[float, float] | None, low: float, high: float
) -> tuple[float, float]:
    if limits is None:
        return low, high
    return min(max(limits[0], low), high), min(max(limits[1], low), high)
