"""The notebooks of examples/notebooks, executed, and written as pages of the documentation: ``python -m tests.notebooks``.

A cell is Python, or one command for a terminal behind "!". Figures of matplotlib are kept as PNG, as Jupyter shows them.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))
PAGES, PICTURES = ROOT / "docs/notebooks", ROOT / "docs/figures/notebooks"
DPI = 80


def source(cell: dict[str, Any]) -> str:
    """The text of a cell."""
    return "".join(cell["source"])


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The code cells of a notebook."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def execute(cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Execute the code cells in one namespace and in the current folder; return the outputs of each, as Jupyter stores them."""
    import matplotlib

    matplotlib.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    return [_command(text[1:]) if text.startswith("!") else _python(text, names) for text in map(source, cells)]


def _command(line: str) -> list[dict[str, Any]]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # "python" is the one that runs this
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return _stream(done.stdout)


def _stream(text: str) -> list[dict[str, Any]]:
    return [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else []


def _python(text: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    import matplotlib.pyplot as plt

    tree = ast.parse(text)
    shown = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None  # type: ignore[attr-defined]
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        if shown is not None:
            value = eval(compile(shown, "cell", "eval"), names)
    outputs = _stream(printed.getvalue())
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = [value._repr_html_()]
        outputs.append({"data": data, "execution_count": None, "metadata": {}, "output_type": "execute_result"})
    for number in plt.get_fignums():
        picture = io.BytesIO()
        plt.figure(number).savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
        encoded = base64.b64encode(picture.getvalue()).decode()
        outputs.append({"data": {"image/png": encoded}, "metadata": {}, "output_type": "display_data"})
    plt.close("all")
    return outputs


def pictures(name: str, notebook: dict[str, Any]) -> dict[str, bytes]:
    """The pictures of a notebook by the names of their files."""
    encoded = [
        output["data"]["image/png"]
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    return {f"{name}-{number}.png": base64.b64decode(text) for number, text in enumerate(encoded, 1)}


def page(name: str, notebook: dict[str, Any]) -> str:
    """A notebook as a page of the documentation."""
    files = iter(pictures(name, notebook))
    parts = [f"<!-- Written by `python -m tests.notebooks` from examples/notebooks/{name}.ipynb. -->"]
    for cell in notebook["cells"]:
        text = source(cell)
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append("    " + text[1:] if text.startswith("!") else f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f"![The figure of the cell above](../figures/notebooks/{next(files)})")
            elif "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                parts.append("```text\n" + "".join(output.get("text") or data["text/plain"]).rstrip("\n") + "\n```")
    end = f"The notebook is `examples/notebooks/{name}.ipynb`."
    return "\n\n".join([*parts, end]) + "\n"


def main() -> None:
    """Execute all notebooks, and write their outputs, pictures and pages."""
    for folder in (PAGES, PICTURES):
        folder.mkdir(parents=True, exist_ok=True)
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text())
        code = code_cells(notebook)
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for number, (cell, outputs) in enumerate(zip(code, execute(code), strict=True), 1):
                for output in outputs:
                    if "execution_count" in output:
                        output["execution_count"] = number
                cell.update(execution_count=number, outputs=outputs)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        for file, content in pictures(path.stem, notebook).items():
            (PICTURES / file).write_bytes(content)
        (PAGES / f"{path.stem}.md").write_text(page(path.stem, notebook))


if __name__ == "__main__":
    main()
