"""The layer-peeled model with mixup: every program of the paper, solved with a certificate."""

from lpm.console.signals import end_while_importing

end_while_importing()

from typing import TYPE_CHECKING  # noqa: E402 (Ctrl-C comes first)

from lpm.console.lazy import lazily  # noqa: E402

if TYPE_CHECKING:
    from lpm.chords import collapsed_from
    from lpm.console.errors import InvalidInput, NotCertified
    from lpm.dual_condition import margin
    from lpm.family import Family
    from lpm.geometry import cosines, etf_distance
    from lpm.law import collapse_number
    from lpm.mixing import Mixing, beta, fixed
    from lpm.pairs import balanced, block, class_counts, distinct, imbalanced, product, table
    from lpm.problem import Problem
    from lpm.programs import fc, ms, ms_free, ms_unordered, plain
    from lpm.solution import Solution, certify
    from lpm.solve import solve_all
    from lpm.targets import from_targets
    from lpm.threshold import Threshold, thresholds
    from lpm.tidy import sweep_rows, threshold_rows

__version__ = "0.2.0"

_PUBLIC = {
    "lpm.chords": "collapsed_from",
    "lpm.console.errors": "InvalidInput NotCertified",
    "lpm.dual_condition": "margin",
    "lpm.family": "Family",
    "lpm.geometry": "cosines etf_distance",
    "lpm.law": "collapse_number",
    "lpm.mixing": "Mixing beta fixed",
    "lpm.pairs": "balanced block class_counts distinct imbalanced product table",
    "lpm.problem": "Problem",
    "lpm.programs": "fc ms ms_free ms_unordered plain",
    "lpm.solution": "Solution certify",
    "lpm.solve": "solve_all",
    "lpm.targets": "from_targets",
    "lpm.threshold": "Threshold thresholds",
    "lpm.tidy": "sweep_rows threshold_rows",
}
"""What others may build on, by module; docs/contribute/stable.md says what stays."""

__all__ = [
    "Family",
    "InvalidInput",
    "Mixing",
    "NotCertified",
    "Problem",
    "Solution",
    "Threshold",
    "balanced",
    "beta",
    "block",
    "certify",
    "class_counts",
    "collapse_number",
    "collapsed_from",
    "cosines",
    "distinct",
    "etf_distance",
    "fc",
    "fixed",
    "from_targets",
    "imbalanced",
    "margin",
    "ms",
    "ms_free",
    "ms_unordered",
    "plain",
    "product",
    "solve_all",
    "sweep_rows",
    "table",
    "threshold_rows",
    "thresholds",
]

__getattr__, __dir__ = lazily(__name__, _PUBLIC)
