"""What the table of flags gives to the reference and to the plugin's config.json.

``python -m tests.reference`` writes it, in the pages between ``<!-- flags: … -->`` and ``<!-- end -->``.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ovn_docker.settings import FLAGS, TABLE, Flag, Program, expand, plugin_settings

ROOT = Path(__file__).parents[1]


def code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def prose(text: str) -> str:
    """Help as Markdown: flags and quoted words are code."""
    return re.sub(r"(?<!\w)'([^']+)'|(?<!\w)--[a-z-]+", lambda word: code(word[1] or word[0]), text)


def row(flag: Flag, program: Program) -> tuple[str, str, str]:
    names = ", ".join(code(f"{name} {flag.value}".rstrip()) for name in flag.names)
    if not flag.value:
        default = "off"
    elif flag.without:
        default = f"none; without {flag.value[1:-1]} {code(expand(flag.without, program))}"
    elif flag.shown:
        default = " and ".join(part if " " in part else code(part) for part in flag.shown.split(" and "))
        default = prose(default)
    else:
        default = code(flag.default_text(program) or "") if flag.default else "none"
    return names, default, prose(flag.help)


def setting(flag: Flag) -> tuple[str, str, str]:
    if not flag.value:
        value = "`true` or `false`"
    elif "|" in flag.value:
        value = " or ".join(map(code, flag.value.split("|")))
    else:
        value = code(flag.value.strip("[]")) + (", several separated by spaces" if flag.repeated else "")
    return code(flag.dest.upper()), code(flag.names[-1]), value


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |\n" for cells in (tuple(head), *map(tuple, rows))]
    lines.insert(1, "|" + "---|" * lines[0].count(" | ") + "---|\n")
    return "".join(lines).replace("|  |", "| |")


def tables() -> dict[str, dict[str, str]]:
    """The tables by page and name."""
    head = ("flag", "default", "meaning")
    overlay = {
        heading.partition(" (")[0]: table(
            head, (row(flag, Program.OVERLAY) for flag in flags if Program.OVERLAY in flag.programs)
        )
        for heading, flags in TABLE.items()
    }
    own = [
        row(flag, Program.UNDERLAY)
        for flag in FLAGS
        if Program.UNDERLAY in flag.programs
        and (
            Program.OVERLAY not in flag.programs or row(flag, Program.UNDERLAY) != row(flag, Program.OVERLAY)
        )
    ]
    excluded = [
        (code(flag.names[-1]), code(flag.fixed) if flag.fixed else "", prose(flag.excluded))
        for flag in FLAGS
        if flag.excluded
    ]
    return {
        "command-line.md": overlay,
        "underlay.md": {"underlay": table(head, own)},
        "plugin.md": {
            "settings": table(("setting", "flag", "value"), map(setting, plugin_settings())),
            "excluded": table(("flag", "its value", "why"), excluded),
        },
    }


def page(text: str, parts: Mapping[str, str]) -> str:
    """A page with its tables as they should be; a table that it has no place for is an error."""
    for name, part in parts.items():
        start, end = f"<!-- flags: {name} -->\n", "<!-- end -->\n"
        before, _, rest = text.partition(start)
        assert rest, f"no {start}"
        text = f"{before}{start}{part}{end}{rest.partition(end)[2]}"
    return text


def config(text: str) -> str:
    """The plugin's config.json with its environment as it should be."""
    content = json.loads(text)
    content["env"] = [
        {
            "name": flag.dest.upper(),
            "description": flag.description(Program.PLUGIN),
            "settable": ["value"],
            "value": flag.plugin_default,
        }
        for flag in plugin_settings()
    ]
    return json.dumps(content, indent=2) + "\n"


def files() -> dict[Path, Callable[[str], str]]:
    """What is written from the table, and how."""
    written: dict[Path, Callable[[str], str]] = {
        ROOT / "docs" / "reference" / name: lambda text, parts=parts: page(text, parts)  # type: ignore[misc]
        for name, parts in tables().items()
    }
    return written | {ROOT / "packaging" / "plugin" / "config.json": config}


if __name__ == "__main__":
    for path, write in files().items():
        path.write_text(write(path.read_text()))
