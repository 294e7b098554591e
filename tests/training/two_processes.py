"""A command that runs the example of docs/practice/parts.md for several processes, and says what it has trained."""

from __future__ import annotations

import json
from typing import Any

from tests.pages import code


def main(arguments: list[str] | None = None) -> int:
    """Run the command; its exit status."""
    names: dict[str, Any] = {}
    exec(compile(code("docs/practice/parts.md")[4], "parts.md", "exec"), names)
    weights = [parameter.tolist() for parameter in names["model"].parameters()]
    sampler = names["sampler"]
    pairs = [sampler.share(epoch).tolist() for epoch in range(2)]
    print(json.dumps({"steps": names["steps"], "state": sampler.state_dict(), "weights": weights, "pairs": pairs}))
    return 0
