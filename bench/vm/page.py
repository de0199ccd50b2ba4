"""How the results of scripts/bench vm are shown. Pure."""

from bench.figures import BRIDGE, CONTESTANTS, MACHINES, OVERLAY
from bench.tables import SECTIONS, Page

ONE, TWO = "one machine", "two machines"

PAGE = Page(
    sections={
        **{name: SECTIONS[name] for name in ("docker", "shares", "verbs", "join")},
        ONE: "Between containers of one machine (median, ratio to bridge)",
        TWO: "Between two machines (median, ratio to Docker's overlay / to the machines themselves)",
    },
    columns=(*CONTESTANTS, MACHINES),
    with_p99=frozenset({"verbs", "join"}),
    targets=(),
    marks=("<!-- bench vm: begin -->", "<!-- bench vm: end -->"),
    bases={"docker": (BRIDGE,), ONE: (BRIDGE,), TWO: (OVERLAY, MACHINES)},
    counted=True,
)
