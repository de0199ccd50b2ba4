"""Results as tables, for a terminal and as Markdown, and whether they reach the targets. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import BRIDGE, OURS, Figure, Machine, Results

BUSY = 0.7
"""A load average above this before the start says that the machine was not left to the bench."""

Find = Callable[[Results], Figure | None]


@dataclass(frozen=True, slots=True)
class Target:
    """A limit for a figure, or for its ratio to another.

    Attributes:
        text: what is to be reached.
        limit: in the figure's unit, or a ratio.
        figure: finds what is judged.
        base: finds what it is divided by, or None.
        at_least: whether more is better; else less is.
    """

    text: str
    limit: float
    figure: Find
    base: Find | None = None
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, what was measured and whether that is enough; None and None when it was not measured."""

    target: Target
    measured: float | None
    reached: bool | None


def find(section: str, item: str, contestant: str = OURS, ports: int = 0) -> Find:
    """What looks up the figure of one cell."""
    return lambda results: results.find(section, item, contestant, ports)


@dataclass(frozen=True, slots=True)
class Page:
    """How one command shows its results.

    Attributes:
        sections: titles by section, in the order in which they are shown.
        columns: contestants, in the order of a table's columns.
        with_p99: the sections whose cells show the 99th percentile too.
        targets: what is judged.
        marks: the lines of a document between which the tables go.
        bases: by section, the contestants to which the others' ratios are shown.
        counted: whether titles tell how many samples a figure has.
    """

    sections: Mapping[str, str]
    columns: Sequence[str]
    with_p99: Collection[str]
    targets: Sequence[Target]
    marks: tuple[str, str]
    bases: Mapping[str, Sequence[str]] = field(default_factory=lambda: {"docker": (BRIDGE,)})
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; the first column is the rows' own title."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Results, page: Page) -> list[Table]:
    """The targets where there are any, then each section that has figures."""
    found = [targets_table(judge(results, page.targets))] if page.targets else []
    for section, title in page.sections.items():
        figures = [figure for figure in results.figures if figure.section == section]
        for ports in sorted({figure.ports for figure in figures}):
            here = [figure for figure in figures if figure.ports == ports]
            found.append(_table(f"{title}{_others(ports)}{_count(here, page)}", here, results, page))
    return found


def _others(ports: int) -> str:
    return f", {ports:,} other ports" if ports else ""


def _count(figures: Sequence[Figure], page: Page) -> str:
    counts = sorted({count.samples for count in figures})
    return (
        f", n = {' to '.join(str(count) for count in {counts[0]: 0, counts[-1]: 0})}" if page.counted else ""
    )


def judge(results: Results, targets: Sequence[Target]) -> list[Verdict]:
    """One verdict per target, in their order."""
    return [_judge(target, results) for target in targets]


def _judge(target: Target, results: Results) -> Verdict:
    figure = target.figure(results)
    base = target.base(results) if target.base else None
    if figure is None or (target.base is not None and (base is None or not base.p50)):
        return Verdict(target, None, None)
    measured = figure.p50 / base.p50 if base else figure.p50
    reached = measured >= target.limit if target.at_least else measured <= target.limit
    return Verdict(target, measured, reached)


def targets_table(verdicts: Sequence[Verdict]) -> Table:
    """Each target, what was measured, and the verdict."""
    words = {True: "reached", False: "not reached", None: "not measured"}
    rows = [
        (
            verdict.target.text,
            f"{'≥' if verdict.target.at_least else '≤'} {verdict.target.limit:,g}",
            "-" if verdict.measured is None else _number(verdict.measured),
            words[verdict.reached],
        )
        for verdict in verdicts
    ]
    return Table("Targets", ("", "target", "measured", "verdict"), rows)


def _table(title: str, figures: Sequence[Figure], results: Results, page: Page) -> Table:
    present = [name for name in page.columns if any(figure.contestant == name for figure in figures)]
    rows = []
    for item in dict.fromkeys(figure.item for figure in figures):
        mine = {figure.contestant: figure for figure in figures if figure.item == item}
        first = next(iter(mine.values()))
        unit = "" if first.unit.startswith("of ") else f", {first.unit}"
        rows.append((f"{item}{unit}", *(_cell(mine.get(name), results, page) for name in present)))
    return Table(title, ("", *present), rows)


def _cell(figure: Figure | None, results: Results, page: Page) -> str:
    if figure is None:
        return "-"
    if figure.unit.startswith("of "):
        return f"{figure.p50:.0f} {figure.unit}"
    if figure.section in page.with_p99:
        return f"{_number(figure.p50)} / {_number(figure.p99)}"
    wanted = page.bases.get(figure.section, ())
    bases = [results.find(figure.section, figure.item, name, figure.ports) for name in wanted]
    ratios = [f"{figure.p50 / base.p50:.2f}" if base and base.p50 else "-" for base in bases]
    return f"{_number(figure.p50)} ({' / '.join(ratios)})" if any(bases) else _number(figure.p50)


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"  # noqa: PLR2004


def about(results: Results) -> list[str]:
    """What was typed, when, and on what."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    kernel = ".".join(machine.kernel.split(".")[:2])
    size = f"{machine.cores} cores, {machine.memory_gb:g} GB"
    minutes = f"{results.seconds / 60:.0f} min"
    busy = f", load average {results.load:g} before" if results.load > BUSY else ""
    return [
        f"`{results.command}`, {results.date}, {minutes}"
        + ("" if results.complete else ", not finished")
        + busy,
        ", ".join([size, f"Linux {kernel}", *_where(machine)]),
        versions,
        *(f"failed: {failure}" for failure in results.failures),
    ]


def _where(machine: Machine) -> list[str]:
    datapath = f"{machine.datapath} datapath" if machine.datapath else ""
    return list(filter(None, (datapath, machine.disk, machine.virtual)))


def markdown(results: Results, page: Page) -> str:
    """All tables as Markdown."""
    parts = ["\n".join(f"- {line}" for line in about(results))]
    for table in tables(results, page):
        lines = [f"### {table.title}", "", _markdown_row(table.header)]
        lines.append(_markdown_row(["---"] + ["---:"] * (len(table.header) - 1)))
        parts.append("\n".join([*lines, *map(_markdown_row, table.rows)]))
    return "\n\n".join(parts) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def text(results: Results, page: Page) -> str:
    """All tables for a terminal."""
    parts = ["\n".join(about(results))]
    for table in tables(results, page):
        widths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
        lines = [_text_row(row, widths) for row in (table.header, *table.rows)]
        parts.append("\n".join([table.title, *lines]))
    return "\n\n".join(parts) + "\n"


def _text_row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    row = [
        first.ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
    ]
    return f"  {'  '.join(row)}".rstrip()


def put_into(document: str, results: Results, page: Page) -> str:
    """A document with all tables between the page's two marks."""
    first, last = page.marks
    before, begin, rest = document.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the document lacks the lines '{first}' and '{last}'")
    return f"{before}{begin}\n\n{markdown(results, page)}\n{end}{after}"
