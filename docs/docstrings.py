"""Make Markdown of the docstrings' reStructuredText while the site is built: roles become links, formulas KaTeX's.

Docstrings are read in editors and in the code, where the roles of reStructuredText are the common form.
mkdocs.yml names this file.
"""

from __future__ import annotations

import re

import griffe

ROLE = re.compile(r":(?:func|mod|class|meth|data|attr):`~?([\w.]+)`")
MATH = re.compile(r"^\.\. math::[ ]*(.*\n(?:[ ]+\S.*(?:\n|$)|[ ]*\n(?=[ ]+\S))*)", flags=re.MULTILINE)
RECORD = re.compile(r"(?:^|\n)(Statement|Where|Quote|Formula|Assumptions|Test|Verdict|Overturned by|References): ")
"""The parts of a check's record, each of which gets a paragraph."""


class Markdown(griffe.Extension):
    """Rewrite the docstrings of a package as soon as all of it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Rewrite all docstrings.

        Args:
            pkg: the package.
        """
        self._rewrite(pkg)

    def _rewrite(self, item: griffe.Object) -> None:
        if item.docstring is not None:
            item.docstring.value = markdown(item.docstring.value, item)
        for member in item.members.values():
            if not member.is_alias:
                self._rewrite(member)


def markdown(text: str, item: griffe.Object) -> str:
    """Return a docstring as Markdown.

    Args:
        text: the docstring.
        item: the module, class or function that it describes.
    """
    text = MATH.sub(lambda match: f"$$\n{match.group(1).strip()}\n$$\n\n", text)
    if text.startswith("Statement: "):
        text = RECORD.sub(r"\n\n**\1:** ", text).strip()
    return ROLE.sub(lambda match: _link(match.group(1), item), text)


def _link(name: str, item: griffe.Object) -> str:
    """A link to a name as it is written in a docstring, or the name where no public thing has it."""
    scope: griffe.Object | None = item
    while scope is not None:
        if not name.split(".")[-1].startswith("_"):
            try:
                target = scope[name]
            except (KeyError, ValueError, griffe.AliasResolutionError):
                pass
            else:
                path = target.target_path if target.is_alias else target.path
                if target.is_alias or target.docstring is not None:
                    return f"[`{name}`][{path}]"
                return f"`{name}`"
        scope = scope.parent
    return f"[`{name}`][{name}]" if "." in name and name.split(".")[0] in PACKAGES else f"`{name}`"


PACKAGES = ("lpm", "training", "paper_checks", "figures")
