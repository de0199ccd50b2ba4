"""The command scripts/chaos and its page."""

from pathlib import Path

import pytest

from chaos.cli import command_line, main, parser

PAGE = Path(__file__).parents[3] / "docs/reference/chaos.md"


def test_the_plan_is_shown_without_a_lab(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--plan", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("round 1\n  h1: docker network create")
    assert said.count("round ") == 2


def test_the_command_that_repeats_a_run_means_the_same_run() -> None:
    asked = parser().parse_args(["--seed", "5", "--minutes", "0.5", "--hosts", "2", "--no-health-check"])
    program, *words = command_line(asked).split()
    again = parser().parse_args(words)
    assert program == "scripts/chaos"
    assert again == asked


def test_every_flag_is_in_the_reference() -> None:
    page = PAGE.read_text()
    flags = {action.option_strings[-1] for action in parser()._actions} - {"--help"}
    assert [flag for flag in flags if f"| `{flag}" not in page] == []
