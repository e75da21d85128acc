"""The house rules that a script can hold."""

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CODE = sorted((TOP / "eai_mcp").rglob("*.py"))
EVERY = [*CODE, *sorted((TOP / "tests").rglob("*.py"))]


@pytest.mark.parametrize("path", EVERY, ids=lambda path: str(path.relative_to(TOP)))
def test_no_file_is_over_400_lines_and_no_function_over_60(path):
    """Issue 2: no file over 400 lines, no function over 60."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    functions = [
        n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    long = [n.name for n in functions if (n.end_lineno or n.lineno) - n.lineno >= 60]
    assert long == []


def test_every_module_says_what_is_in_it():
    assert [
        path.name for path in CODE if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ] == []


def test_the_readme_names_only_what_exists():
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    house = readme.split("## The house")[1].split("```")[1]
    for name in re.findall(r"(?:^|\s)([a-z_]+(?:/|\.py))", house):
        assert (TOP / "eai_mcp" / name).exists(), name
    assert readme.count("\n") <= 400


def test_the_gate_is_the_readmes_own_test_command():
    """Issue 2: `.ci/run` calls the README's own test command."""
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    command = readme.split("## Work on it")[1].split("```sh\n")[1].split("\n")[0]
    assert command in (TOP / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_no_model_id_stands_in_the_code():
    """DESIGN section 7: today's ids live in the files, never in code."""
    ids = re.compile(r"claude-[a-z]+-\d|gpt-\d|deepseek-v\d|gemini-\d")
    assert [path.name for path in CODE if ids.search(path.read_text(encoding="utf-8"))] == []
