"""The processes of a group or a session, from /proc."""

from pathlib import Path
from typing import Literal


def living(number: int, of: Literal["group", "session"]) -> list[str]:
    """The processes of a group or a session that have not ended, each with its name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name stands in brackets and may hold spaces; then state, parent, group, session.
        name, rest = text[: text.rindex(")") + 1], text[text.rindex(")") + 1 :].split()
        if int(rest[2 if of == "group" else 3]) == number and rest[0] != "Z":
            found.append(name)
    return found
