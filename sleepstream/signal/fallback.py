"""Which of several derivations is staged: the first that is any good, and not back and forth.

Enters: for each epoch, whether each derivation is good, best derivation first. Leaves: which one is
staged, and a sentence when that changes. The state is a value, so that it can be recorded with an
epoch and taken up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

POOR = 0.5
"""Below this score an epoch is bad: more than half of it cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """How long to wait.

    Attributes
    ----------
    give_up_after : int
        Bad epochs in a row after which the next good derivation takes over.
    take_back_after : int
        Good epochs in a row after which a better derivation is taken back.
    """

    give_up_after: int = 4
    take_back_after: int = 10


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the choice stands after an epoch.

    Attributes
    ----------
    staged : int
        Which derivation is staged.
    n_bad, n_good : tuple of int
        Epochs in a row in which each was bad, or good.
    stranded : bool
        Whether the one that is staged was given up, and no other was any better.
    """

    staged: int
    n_bad: tuple[int, ...]
    n_good: tuple[int, ...]
    stranded: bool = False

    @classmethod
    def first(cls, n: int) -> Standing:
        """Return the standing of `n` derivations before the first epoch."""
        return cls(0, (0,) * n, (0,) * n)

    def after(self, good: Sequence[bool], hysteresis: Hysteresis) -> Standing:
        """Return the standing after one more epoch.

        Parameters
        ----------
        good : sequence of bool
            Whether each derivation is good in this epoch, best derivation first.
        hysteresis : Hysteresis
            How long to wait.
        """
        n_bad = tuple(0 if ok else n + 1 for ok, n in zip(good, self.n_bad, strict=True))
        n_good = tuple(n + 1 if ok else 0 for ok, n in zip(good, self.n_good, strict=True))
        back = [i for i in range(self.staged) if n_good[i] >= hysteresis.take_back_after]
        given_up = n_bad[self.staged] >= hysteresis.give_up_after
        others = [i for i, ok in enumerate(good) if ok] if given_up else []
        staged = next(iter(back or others), self.staged)
        moved = staged != self.staged
        # once stranded, only an epoch that is good again is the end of it
        stranded = not moved and (given_up or (self.stranded and not good[staged]))
        return Standing(staged, n_bad, n_good, stranded)


def in_words(
    before: Standing, after: Standing, labels: Sequence[str], verdicts: Sequence[str]
) -> str:
    """Return what happened between two standings; nothing if nothing did.

    Parameters
    ----------
    before, after : Standing
        Before and after an epoch.
    labels, verdicts : sequence of str
        Of each derivation: its name, and what is wrong with it in this epoch.
    """
    old, new = labels[before.staged], labels[after.staged]
    n_bad = after.n_bad[before.staged]
    bad = f"{old} has been bad for {_minutes(n_bad)} ({verdicts[before.staged]})"
    if after.staged != before.staged and n_bad:
        return f"{bad}; from now on {new} is staged"
    if after.staged != before.staged:
        good = _minutes(after.n_good[after.staged])
        return f"{new} has been good for {good} and is staged again in place of {old}"
    if after.stranded and not before.stranded:
        rest = "there is no other to stage" if len(labels) == 1 else "no other is good"
        return f"{bad}, and {rest}"
    if before.stranded and not after.stranded:
        return f"{new} is good again"
    return ""


def _minutes(n_epochs: int) -> str:
    return "30 s" if n_epochs == 1 else f"{n_epochs / 2:g} min"
