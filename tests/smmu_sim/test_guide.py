"""The examples of the guide, sim/README.md, run and print what they say that they print."""

import ast
import os
import re
import subprocess
import sys
import tokenize
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest

from smmu_sim.scenarios.registry import SCENARIOS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "sim" / "README.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.M | re.S)
_CONTINUES = re.compile(r"[Cc]ontinuing the example above")


def examples():
    """Return ``[(line of the guide, source)]``; what continues an example has it in front."""
    text, found, end = GUIDE.read_text(), [], 0
    for match in _BLOCK.finditer(text):
        source = match[1]
        if _CONTINUES.search(text[end:match.start()]):
            source = found[-1][1] + source
        found.append((text.count("\n", 0, match.start()) + 1, source))
        end = match.end()
    return found


def announced(source):
    """Return ``{line: [texts]}``: what comments beside or below a print say that it prints."""
    comments = {token.start[0]: token.string.lstrip("# ")
                for token in tokenize.generate_tokens(StringIO(source).readline)
                if token.type == tokenize.COMMENT}
    lines, result = source.splitlines(), {}
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print"):
            continue
        last = node.end_lineno
        if last in comments:
            result[node.lineno] = [comments[last]]
            continue
        below, line = [], last + 1
        while line in comments and lines[line - 1].startswith("#"):
            below.append(comments[line])
            line += 1
        if below:
            result[node.lineno] = below
    return result


EXAMPLES = examples()
PLAIN = [(line, source) for line, source in EXAMPLES if "\ndef test_" not in source]
TESTS = [(line, source) for line, source in EXAMPLES if "\ndef test_" in source]


@pytest.mark.parametrize("line, source", PLAIN, ids=[f"line-{line}" for line, _ in PLAIN])
def test_an_example_prints_what_it_says(line, source, monkeypatch):
    monkeypatch.chdir(ROOT)
    printed = {}

    def record(*values):
        number = sys._getframe(1).f_lineno
        printed.setdefault(number, []).append(" ".join(map(str, values)))

    code = compile(source, f"{GUIDE.name}:{line}", "exec")
    with mock.patch.dict(SCENARIOS):  # a scenario of the guide's is none of ours
        exec(code, {"print": record, "__name__": "guide"})
    for number, texts in announced(source).items():
        assert len(printed[number]) == len(texts)
        for text, comment in zip(printed[number], texts):
            assert comment.startswith(text), f"line {line + number}: {text!r}, not {comment!r}"


@pytest.mark.parametrize("line, source", TESTS, ids=[f"line-{line}" for line, _ in TESTS])
def test_an_example_of_a_test_passes(line, source, tmp_path):
    path = tmp_path / f"test_guide_{line}.py"
    path.write_text(source)
    places = [tmp_path, ROOT / "hdl", ROOT / "sim"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}",
         str(path)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))})
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_guide_has_examples_of_both_kinds():
    assert len(PLAIN) > 8 and len(TESTS) == 2
