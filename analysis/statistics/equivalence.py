"""Verdicts on a difference: different, equivalent or undecided.

*Different*: the adjusted p-value is at most 5 %. *Equivalent*: both one-sided tests against the
smallest effect of interest are significant at 5 % (TOST), that is, the simultaneous 90 % interval
lies within ± that effect. Else *undecided*: more seeds may decide. A difference that is different
and yet smaller than the effect counts as different.

Reference: Schuirmann, A comparison of the two one-sided tests procedure and the power approach for
assessing the equivalence of average bioavailability, Journal of Pharmacokinetics and
Biopharmaceutics 1987.
"""

from analysis.statistics.families import FamilyDifference

SIGNIFICANCE = 0.05
"""Chance of even one false verdict in a family."""

SMALLEST_EFFECT = 0.01
"""Smallest difference of accuracies that is of interest: one point."""

DIFFERENT, EQUIVALENT, UNDECIDED = "different", "equivalent", "undecided"


def verdict_on(difference: FamilyDifference, smallest_effect: float | None) -> str:
    """Returns `different`, `equivalent` or `undecided`.

    Args:
        difference: of a family.
        smallest_effect: above 0, in the unit of the difference; None: equivalence is not asked.

    Example:
        >>> from analysis.statistics.families import family_of
        >>> family = family_of([[0.601, 0.602, 0.603], [0.600, 0.602, 0.602]], [(1, 0)])
        >>> verdict_on(family.differences[0], 0.01)
        'equivalent'
    """
    if not difference.is_tested:
        return UNDECIDED
    if difference.p <= SIGNIFICANCE:
        return DIFFERENT
    if smallest_effect is not None and is_within(difference, smallest_effect):
        return EQUIVALENT
    return UNDECIDED


def is_within(difference: FamilyDifference, smallest_effect: float) -> bool:
    """Whether the simultaneous 90 % interval lies within ± the smallest effect of interest."""
    low, high = difference.equivalence_low, difference.equivalence_high
    return -smallest_effect < low and high < smallest_effect
