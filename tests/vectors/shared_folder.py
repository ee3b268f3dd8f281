"""Where test vectors of others live: beside the repository, because their licences are not ours."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors"
REASON = "the test vectors are not there: the folder ../shared/vectors beside the repository"


def is_absent(name: str) -> bool:
    return not (FOLDER / name).is_file()


def load(name: str) -> dict[str, Any]:
    """Returns a JSON file of the folder; an empty object where it is absent."""
    return {} if is_absent(name) else json.loads((FOLDER / name).read_text())
