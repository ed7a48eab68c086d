"""Trials by their ids or the beginnings of these."""

import difflib
from collections.abc import Callable

from distill.errors import UserError, shortened
from sweeps.store.store import Store

MOST_NAMED = 5
"""Trials that a message names."""


def find_trial(text: str, store: Store, on_invalid: Callable[[str], None] = lambda _: None) -> str:
    """Returns the trial_id that a text is or begins.

    Args:
        text: of the user.
        store: the results.
        on_invalid: called with a line for every record that is left out.

    Raises:
        UserError: no trial, or several; with the nearest.
    """
    known = store.known_ids()
    for record in store.submissions(on_invalid):
        known.update(record.get("trial_ids") or ())
    found = sorted(trial_id for trial_id in known if trial_id.startswith(text.lower()))
    if len(found) == 1 and text:
        return found[0]
    if found:
        named = ", ".join(found[:MOST_NAMED]) + (", …" if len(found) > MOST_NAMED else "")
        raise UserError(
            f"trial {shortened(text)} is ambiguous: {len(found)} begin with it: {named}"
        )
    beginnings = {trial_id[: max(len(text), 4)]: trial_id for trial_id in sorted(known)}
    close = difflib.get_close_matches(text.lower(), beginnings, n=3, cutoff=0.3)
    hint = f"; the nearest: {', '.join(beginnings[name] for name in close)}" if close else ""
    raise UserError(f"no trial of {store.shown} begins with {shortened(text)}{hint}")
