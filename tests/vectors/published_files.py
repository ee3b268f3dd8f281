"""Test vectors that others published; their sources and licences are in published/README.md."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "published"


def load(name: str) -> dict[str, Any]:
    """Returns a JSON file of the folder."""
    found: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return found
