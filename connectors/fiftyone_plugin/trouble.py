"""Errors in the words of the panel: what is wrong, and what to do."""

from __future__ import annotations

import re

from curate.errors import CurateError, Locked


def say(err: BaseException) -> str:
    """One error for people; a bug is named as one."""
    if isinstance(err, Locked):
        return f"{err} Another curate writes to this store; wait for it, then try again."
    if isinstance(err, CurateError):
        return str(err)
    kind = type(err)
    family = {base.__name__ for base in kind.__mro__}
    if "PyMongoError" in family or "DatabaseError" in family or kind.__name__ == "ServiceListenTimeout":
        # The driver goes on with its own settings and what it knows of the servers.
        why = re.split(r" \(configured timeouts|, Timeout:|\n", str(err))[0][:200]
        return f"FiftyOne's database does not answer: {why}. Start it, or look at its log, then refresh."
    if kind.__name__ in ("DatasetNotFoundError", "DoesNotExist"):
        return "This dataset was deleted while it was open. Open another one; its store is kept until you delete the folder."
    if isinstance(err, OSError) and err.filename:
        return f"{err.filename}: {err.strerror}"
    return f"This is a bug in curate: {kind.__name__}: {err}"
