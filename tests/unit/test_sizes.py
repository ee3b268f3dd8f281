"""Files and functions stay small enough to read; to raise a ceiling is a decision to be seen."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "p2pnode"
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80  # from `def` to the last line, docstring included


def sources() -> list[Path]:
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if not path.stem.endswith("_pb2")]
    assert files, f"no sources in {PACKAGE}"
    return files


def function_sizes(path: Path) -> list[tuple[str, int]]:
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def test_no_file_is_longer_than_its_ceiling() -> None:
    lines = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources()
    }

    assert {name: count for name, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_its_ceiling() -> None:
    too_long = [
        (f"{path.relative_to(PACKAGE)}:{name}", count)
        for path in sources()
        for name, count in function_sizes(path)
        if count > MAX_FUNCTION_LINES
    ]

    assert too_long == []
