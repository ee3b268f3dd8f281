"""The package's public names: three lists that have to agree, because they are imported lazily."""

import ast
from pathlib import Path

import pytest

import p2pnode

SOURCE = Path(p2pnode.__file__).read_text(encoding="utf-8")


def names_for_type_checkers() -> dict[str, str]:
    """Returns the names that the block for type checkers imports, with their modules."""
    (block,) = [
        node
        for node in ast.parse(SOURCE).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_and_the_interpreter_find_the_same_names_in_the_same_modules() -> None:
    assert names_for_type_checkers() == p2pnode._MODULES
    assert sorted(p2pnode._MODULES) == sorted(p2pnode.__all__)


@pytest.mark.parametrize("name", p2pnode.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(p2pnode, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = p2pnode.nothing  # type: ignore[attr-defined]
