"""What a check says: one line for each finding."""

import re
from typing import Literal, NamedTuple

State = Literal["ok", "note", "missing", "wrong"]


class Finding(NamedTuple):
    """One finding about a part, a file or a command."""

    state: State
    where: str
    text: str

    def __str__(self) -> str:
        # Messages of libraries have lines of their own.
        text = re.sub(r"\s+", " ", self.text)
        return f"{self.state:7} {self.where}: {text}"
