"""The console of the programmer's guide shows what `smmu` prints."""

import re
from pathlib import Path

import pytest

from smmu_sim.cli import main

GUIDE = Path(__file__).parents[3] / "sim" / "README.md"
PROMPT = "$ .venv/bin/smmu "


def examples():
    """Yield (arguments, lines of output) of each command in a console block."""
    for block in re.findall(r"```console\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        for part in re.split(r"^" + re.escape(PROMPT), block, flags=re.MULTILINE)[1:]:
            command, *output = part.splitlines()
            yield command.split(), output


@pytest.mark.parametrize("arguments, output", list(examples()))
def test_example(capsys, arguments, output):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    assert capsys.readouterr().out.splitlines() == output


def test_there_are_examples():
    assert len(list(examples())) >= 4
