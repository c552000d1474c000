"""The commands of README.md, as they stand there."""

import re
from collections.abc import Collection
from dataclasses import dataclass

HEADING = re.compile(r"##+ (.*)")
FENCE = "```"
# What a block without `bash` holds besides lines to be read: commands whose input is a placeholder.
PROGRAMS = ("torchrun ", "accelerate launch ")


@dataclass(frozen=True)
class ReadmeCommand:
    """One command of a code block: its lines, comments and all, under the heading `section`."""

    section: str
    text: str

    def has(self, *words: str) -> bool:
        """Whether the command has these words in this order, the lines joined."""
        joined = " ".join(self.text.replace("\\\n", " ").split())
        return re.search(".*".join(map(re.escape, words)), joined) is not None


def block_commands(readme: str, sections: Collection[str]) -> list[ReadmeCommand]:
    """The commands of the blocks below these headings, in order."""
    commands: list[ReadmeCommand] = []
    section, inside, bash, lines = "", False, False, []
    for line in readme.splitlines():
        heading = HEADING.fullmatch(line)
        if heading and not inside:
            section = heading[1]
        elif line.startswith(FENCE):
            inside, bash = not inside, line == f"{FENCE}bash"
        elif inside and section in sections:
            lines.append(line)
            if line.endswith("\\"):
                continue
            text, lines = "\n".join(lines), []
            if text.startswith(PROGRAMS) or (bash and text.strip() and not text.startswith("#")):
                commands.append(ReadmeCommand(section, text))
    return commands
