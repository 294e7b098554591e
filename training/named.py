"""Methods by name: the choices that make each method of the tables and of ``training.compare``, family by family."""

from __future__ import annotations

from typing import Any

from training.choices.mixing import DEFERRED
from training.methods import STAGES

Choices = dict[str, Any]
"""Choices of a run, by field of :class:`training.config.RunConfig`."""


def _of(sampler: str = "random", classifier: str = "fc", **others: Any) -> Choices:
    return {"sampler": sampler, "classifier": classifier, **others}


NO_MIXUP: Choices = {"alpha": 0.0, "ratio_per": "batch"}
"""Training without mixup, under any recipe."""

CB_RW: Choices = {"class_weights": "effective"}
DRW: Choices = {"class_weights": "effective", "weights_from": DEFERRED}
"""Class weights by the effective number of images: from the start (CB-RW), or from 4/5 of the epochs on (DRW)."""

PAPER: dict[str, Choices] = {
    "random+FC": _of(),
    "CBS+FC": _of("cbs"),
    "CAS+FC": _of("cas"),
    "BMLS+FC": _of("bmls"),
    "random+MS": _of("random", "ms"),
    "BMLS+MS": _of("bmls", "ms-unordered"),
    "BMLS-all+MS": _of("bmls-all", "ms"),
    "random+ETF+DR": _of("random", "etf", loss="dr"),
    "CBS+ETF+DR": _of("cbs", "etf", loss="dr"),
    "CAS+ETF+DR": _of("cas", "etf", loss="dr"),
    "BMLS+ETF+DR": _of("bmls", "etf", loss="dr"),
    "BMLS+MS-WETF+CE": _of("bmls", "ms-wetf-unordered"),
}
"""The methods that the paper trains itself, and BMLS-all+MS.

BMLS draws label pairs a < b (§4.2), so MS has these pairs as its classes there. Two classes have only one such pair;
for them BMLS-all+MS draws all K^2.
"""

CORRECTED: dict[str, Choices] = {
    "random+FC+LA": _of(loss="la"),
    "random+FC+CW": _of(loss="cw"),
    "random+MS+LA": _of("random", "ms", loss="la"),
    "tempered+MS+LA": _of("tempered", "ms", loss="la"),
    "random+MS+VS": _of("random", "ms", loss="vs"),
    "random+FC+VS": _of(loss="vs"),
    "random+FC+CDT": _of(loss="cdt"),
    "random+FC+T": _of(loss="temperature"),
    "random+FC+CL": _of(loss="complement"),
    "random+FC+Focal": _of(loss="focal"),
    "random+FC+Focal+CB-RW": _of(loss="focal", **CB_RW),
    "random+FC+CB-RW": _of(**CB_RW),
    "random+FC+1/n": _of(class_weights="inverse"),
    "random+FC+DRW": _of(**DRW),
    "random+cosine+LDAM": _of("random", "cosine", loss="ldam"),
    "random+cosine+LDAM+DRW": _of("random", "cosine", loss="ldam", **DRW),
    "CAS+FC+DRW": _of("cas", **DRW),
    "LOM+FC+DRW": _of("lom", **DRW),
    "BMLS+FC+DRW": _of("bmls", **DRW),
}
"""Losses and class weights, under mixup."""

MIXED: dict[str, Choices] = {
    "LOM+FC": _of("lom"),
    "DRS+FC": _of("cbs", sampler_from=DEFERRED),
    "CAS-deferred+FC": _of("cas", sampler_from=DEFERRED),
    "LOM-deferred+FC": _of("lom", sampler_from=DEFERRED),
    "bilateral+FC": _of("bilateral"),
    "bilateral+FC+CMO": _of("bilateral", mixing="cmo"),
    "bilateral+FC+OTMix-train": _of("bilateral", mixing="otmix-train", alpha=4.0),
    "random+FC+Remix": _of(mixing="remix"),
    "random+FC+DRW+Remix": _of(mixing="remix", **DRW),
    "random+FC+MAMix": _of(mixing="mamix"),
    "random+FC+CutMix": _of(mixing="cutmix"),
    "random+FC+manifold": _of(mixing="manifold"),
    "UniMix+FC+LA(prior=data)+UniMix": _of("unimix", loss="la", prior="data", mixing="unimix", alpha=0.8),
}
"""Samplers of other papers, deferred samplers, and mixing laws."""

COMBINED: dict[str, Choices] = {
    "BMLS+FC+Remix": _of("bmls", mixing="remix"),
    "BMLS+FC+CutMix": _of("bmls", mixing="cutmix"),
    "BMLS+FC+UniMix": _of("bmls", mixing="unimix", alpha=0.8),
    "BMLS+MS+UniMix": _of("bmls", "ms-unordered", mixing="unimix", alpha=0.8),
    "BMLS+FC+manifold": _of("bmls", mixing="manifold"),
    "BMLS+MS+manifold": _of("bmls", "ms-unordered", mixing="manifold"),
    "BMLS+FC+CL": _of("bmls", loss="complement"),
    "BMLS+FC+CL+DBN": _of("bmls", loss="complement", branches="dbn"),
}
"""The paper's sampler and classifier with other people's parts, which the paper proposes as future work."""

BRANCHED: dict[str, Choices] = {
    "DBN": _of("bilateral", loss="complement", branches="dbn"),
    "BBN": _of("bilateral", second_power=-1.0, branches="bbn", **NO_MIXUP),
}
"""Networks with two branches."""

STAGED: dict[str, Choices] = {
    "random+FC+cRT": _of(stage="crt"),
    "random+FC+LWS": _of(stage="lws"),
    "random+FC+MiSLAS": _of(stage="mislas"),
    "BMLS+FC+MiSLAS": _of("bmls", stage="mislas"),
    "BMLS+MS+cRT": _of("bmls", "ms-unordered", stage="crt"),
    "BMLS+MS+MiSLAS": _of("bmls", "ms-unordered", stage="mislas"),
}
"""Second stages: the run of the other choices is trained first, and the stage on its features."""

UNMIXED: dict[str, Choices] = {
    f"{name}, no mixup": choices | NO_MIXUP
    for name, choices in {
        "random+FC": _of(),
        "CBS+FC": _of("cbs"),
        "CAS+FC": _of("cas"),
        "CAS-deferred+FC": _of("cas", sampler_from=DEFERRED),
        "CAS+FC+DRW": _of("cas", **DRW),
        "random+FC+CB-RW": _of(**CB_RW),
        "random+FC+DRW": _of(**DRW),
        "random+FC+Focal": _of(loss="focal"),
        "random+FC+Focal+CB-RW": _of(loss="focal", **CB_RW),
        "random+FC+Focal-LDAM+CB-RW/batch": _of(loss="focal-ldam", weight_normalisation="batch", **CB_RW),
        "random+cosine+LDAM": _of("random", "cosine", loss="ldam"),
        "random+cosine+LDAM+DRW": _of("random", "cosine", loss="ldam", **DRW),
    }.items()
}
"""Training without mixup."""

METHODS: dict[str, Choices] = PAPER | CORRECTED | MIXED | COMBINED | BRANCHED | STAGED | UNMIXED
"""All of them. A name is the ``method`` of its run."""

COSTLY: dict[str, Any] = {
    "branches": ("dbn", "bbn"),
    "mixing": ("manifold", "otmix-train"),
    "stage": tuple(STAGES),
}
"""Choices with which a step has more than one pass through the network or a matching, or a run needs another one before it."""

GROUPS = {
    "cheap": tuple(
        method
        for method, choices in METHODS.items()
        if not any(choices.get(name) in words for name, words in COSTLY.items())
    ),
    "all": tuple(METHODS),
}
"""Groups of methods that are compared with one word: those of one stage at about the cost of plain training, and all."""
