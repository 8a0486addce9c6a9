"""What the rows of the annotator say together: means, paired comparisons, intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

Row = dict[str, Any]
MEASURES = ("ap50", "dice")
GOAL = 0.8  # of the score that all true masks give
LEVELS = 50  # scores on the way to the one that both reach


def summary(rows: list[Row]) -> list[Row]:
    """Return the mean and 95 % interval of the last round, by kind and way."""
    found = []
    for kind, way in dict.fromkeys((row["kind"], row["way"]) for row in rows):
        last = last_of_seeds(rows, kind, way)
        one: Row = {"kind": kind, "way": way, "seeds": len(last)}
        for key in ("objects", "steps", *MEASURES, "known_ap50"):
            one[key], one[f"{key} +-"] = interval([row[key] for row in last.values()])
        found.append(one)
    return found


def paired(rows: list[Row]) -> list[Row]:
    """Return how ``ours`` stands against other ways, over the seeds that both have.

    Scores are compared as ratio and as difference of the last round. Sessions also as
    the ratio of objects, and of places, after which both have the score that the worse
    one reaches; the mean ratio for all scores on the way there ("way to": the areas
    beside the curves); and the ratio of objects after which they have ``GOAL`` of what
    all true masks give (all objects of a session that never has it).
    """
    found = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        ours = last_of_seeds(rows, kind, "ours")
        for way in dict.fromkeys(row["way"] for row in rows if row["way"] != "ours"):
            other = last_of_seeds(rows, kind, way)
            seeds = sorted(ours.keys() & other.keys())
            if not seeds:
                continue
            one: Row = {"kind": kind, "ours against": way, "seeds": len(seeds)}
            for key in MEASURES:
                pairs = [(ours[s][key], other[s][key]) for s in seeds]
                one[f"{key} ratio"], one[f"{key} ratio +-"] = interval(
                    [a / b for a, b in pairs if b > 0]
                )
                one[f"{key} more"], one[f"{key} more +-"] = interval(
                    [a - b for a, b in pairs]
                )
                alike = [_needed(rows, kind, way, seed, key) for seed in seeds]
                been = [
                    _needed(rows, kind, way, seed, key, what="places") for seed in seeds
                ]
                on_the_way = [
                    _needed(rows, kind, way, s, key, way_to=True) for s in seeds
                ]
                full = last_of_seeds(rows, kind, "all")
                to_goal = [
                    _needed(rows, kind, way, seed, key, GOAL * full[seed][key])
                    for seed in seeds if seed in full
                ]  # fmt: skip
                for name, needed in (
                    ("objects", alike), ("way to objects", on_the_way),
                    ("places", been), ("to goal", to_goal),
                ):  # fmt: skip
                    told = [a / b for a, b in needed if b > 0]
                    one[f"{key} {name}"], one[f"{key} {name} +-"] = interval(told)
            found.append(one)
    return found


def last_of_seeds(rows: list[Row], kind: str, way: str) -> dict[int, Row]:
    """Return the last round of each seed."""
    its = [row for row in rows if (row["kind"], row["way"]) == (kind, way)]
    return {row["seed"]: row for row in its}


def _needed(
    rows: list[Row], kind: str, way: str, seed: int, key: str,
    goal: float | None = None, what: str = "objects", *, way_to: bool = False,
) -> tuple[float, float]:  # fmt: skip
    """Return after how many objects or places ours and another way have the same score.

    Without a goal it is the best that both reach; between rounds the score is taken to
    rise evenly. (0, 0): the other way has no rounds.

    Parameters
    ----------
    way_to : whether means are wanted over all scores from the first to the goal
    """
    curves = []
    for each in ("ours", way):
        its = [
            row for row in rows
            if (row["kind"], row["way"], row["seed"]) == (kind, each, seed)
        ]  # fmt: skip
        if len(its) < 2:
            return 0.0, 0.0
        best = np.maximum.accumulate([row[key] for row in its])
        curves.append((best, np.array([row.get(what, 0) for row in its], float)))
    if goal is None:
        goal = min(best[-1] for best, _ in curves)
    shares = np.linspace(1 / LEVELS, 1, LEVELS) if way_to else np.ones(1)
    one, other = (
        float(np.mean([_first(*curve, _between(curve[0][0], goal, s)) for s in shares]))
        for curve in curves
    )
    return one, other


def _between(low: float, high: float, share: float) -> float:
    return float(low + share * (high - low))


def _first(best: Any, objects: Any, goal: float) -> float:
    """Return where a rising curve first reaches a goal."""
    if best[-1] < goal:
        return float(objects[-1])
    at = int(np.argmax(best >= goal))
    if at == 0:
        return float(objects[0])
    low, high = best[at - 1], best[at]
    share = (goal - low) / (high - low)
    return float(objects[at - 1] + share * (objects[at] - objects[at - 1]))


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half of its 95 % interval (Student's t)."""
    from scipy import stats

    if not values:
        return float("nan"), float("nan")
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan")
    spread_of_mean = stats.sem(values)
    return mean, float(stats.t.ppf(0.975, len(values) - 1) * spread_of_mean)
