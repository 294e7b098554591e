"""The samplers that a run can name: one row each."""

from __future__ import annotations

from training.registry.kinds import Sampler

SAMPLERS: dict[str, Sampler] = {
    row.name: row
    for row in (
        Sampler(
            name="random",
            title="random",
            help="every image once per epoch, its partner by a random permutation of the batch",
            make="training.sampling.samplers:Random",
            classes="as they are",
        ),
        Sampler(
            name="cbs",
            title="CBS",
            help="class-balanced sampling: all classes equally often, drawn independently",
            make="training.sampling.samplers:ClassBalanced",
            classes="balanced",
        ),
        Sampler(
            name="cas",
            title="CAS",
            help="class-aware sampling: all classes equally often, in shuffled cycles",
            make="training.sampling.samplers:ClassAware",
            settings={"m": "cas_m"},
            classes="balanced",
        ),
        Sampler(
            name="lom",
            title="LOM",
            help="label-occurrence-balanced mixup: both sides of a pair are independent class-balanced draws",
            make="training.sampling.samplers:LabelOccurrence",
            classes="balanced",
        ),
        Sampler(
            name="bmls",
            title="BMLS",
            help="balanced mixed labels, the paper's sampler: all label pairs a < b equally often",
            make="training.sampling.samplers:BalancedMixedLabels",
            fixed={"ordered": False},
            draws="a < b",
            classes="balanced",
        ),
        Sampler(
            name="bmls-all",
            title="BMLS-all",
            help="balanced mixed labels over all K^2 label pairs",
            make="training.sampling.samplers:BalancedMixedLabels",
            fixed={"ordered": True},
            classes="balanced",
        ),
        Sampler(
            name="bilateral",
            title="bilateral",
            help="every image once per epoch, its partner from a stream of its own, balanced unless --second-power says else",
            make="training.sampling.two_laws:Bilateral",
            settings={"power": "second_power"},
            shown=("second_power",),
        ),
        Sampler(
            name="unimix",
            title="UniMix-partners",
            help="every image once per epoch, its partner drawn from the batch, rare classes preferred",
            make="training.sampling.two_laws:WeightedPartners",
            settings={"power": "partner_power"},
            shown=("partner_power",),
        ),
        Sampler(
            name="coverage",
            title="coverage {coverage:g}",
            help="for Figure 3: a share of the classes is mixed with one another, each other class with itself",
            make="training.sampling.samplers:Coverage",
            settings={"ratio": "coverage"},
        ),
    )
}
"""Which two images are mixed, by the word of ``--sampler``."""
