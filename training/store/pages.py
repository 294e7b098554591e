"""Pages of HTML that hold all they show: pictures, style and numbers. Needs no torch.

Jinja escapes every word. The templates are in ``training/templates``.
"""

from __future__ import annotations

import base64
import math
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lpm.console.text import shown

KINDS = {"png": "image/png", "svg": "image/svg+xml"}
"""The media types of pictures."""


def page(template: str, **content: Any) -> str:
    """Make a page.

    Args:
        template: name of a file in ``training/templates``.
        content: its variables.

    Returns:
        The page.
    """
    environment = Environment(
        loader=PackageLoader("training"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "number": number}
    return environment.get_template(template).render(**content)


def number(value: float, digits: int = 1) -> str:
    """Write a number.

    Args:
        value: the number.
        digits: digits behind the point.

    Returns:
        The text; a dash where there is no number.
    """
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def embedded(picture: bytes, kind: str) -> str:
    """Turn a picture into an address that holds it.

    Args:
        picture: its bytes.
        kind: a key of :data:`KINDS`.

    Returns:
        The address.
    """
    return f"data:{KINDS[kind]};base64,{base64.b64encode(picture).decode()}"
