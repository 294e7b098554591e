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
            label_law="training.sampling.label_law:as_they_are",
            classes="as they are",
        ),
        Sampler(
            name="cbs",
            title="CBS",
            help="class-balanced sampling: all classes equally often, drawn independently",
            make="training.sampling.samplers:ClassBalanced",
            label_law="training.sampling.label_law:balanced",
            classes="balanced",
        ),
        Sampler(
            name="cas",
            title="CAS",
            help="class-aware sampling: all classes equally often, in shuffled cycles",
            make="training.sampling.samplers:ClassAware",
            label_law="training.sampling.label_law:balanced",
            settings={"m": "cas_m"},
            classes="balanced",
        ),
        Sampler(
            name="lom",
            title="LOM",
            help="label-occurrence-balanced mixup: both sides of a pair are independent class-balanced draws",
            make="training.sampling.samplers:LabelOccurrence",
            label_law="training.sampling.label_law:balanced_pairs",
            classes="balanced",
        ),
        Sampler(
            name="bmls",
            title="BMLS",
            help="balanced mixed labels, the paper's sampler: all label pairs a < b equally often",
            make="training.sampling.balanced:BalancedMixedLabels",
            label_law="training.sampling.label_law:ordered_pairs",
            fixed={"ordered": False},
            draws="a < b",
            lower_first=True,
            classes="balanced",
        ),
        Sampler(
            name="bmls-all",
            title="BMLS-all",
            help="balanced mixed labels over all K^2 label pairs",
            make="training.sampling.balanced:BalancedMixedLabels",
            label_law="training.sampling.label_law:balanced_pairs",
            fixed={"ordered": True},
            classes="balanced",
        ),
        Sampler(
            name="bilateral",
            title="bilateral",
            help="every image once per epoch, its partner from a stream of its own, balanced unless --second-power says else",
            make="training.sampling.two_laws:Bilateral",
            label_law="training.sampling.label_law:bilateral",
            settings={"power": "second_power"},
            shown=("second_power",),
        ),
        Sampler(
            name="tempered",
            title="tempered",
            help="both images from streams of their own, classes in proportion to n^power: between LOM, 0, and random pairs, 1",
            make="training.sampling.two_laws:Tempered",
            label_law="training.sampling.label_law:tempered",
            settings={"power": "pair_power"},
            shown=("pair_power",),
        ),
        Sampler(
            name="unimix",
            title="UniMix",
            help="every image once per epoch, its partner drawn from the batch, rare classes preferred",
            make="training.sampling.two_laws:WeightedPartners",
            label_law="training.sampling.label_law:weighted_partners",
            settings={"power": "partner_power"},
            shown=("partner_power",),
        ),
        Sampler(
            name="coverage",
            title="coverage {coverage:g}",
            help="for Figure 3: a share of the classes is mixed with one another, each other class with itself",
            make="training.sampling.balanced:Coverage",
            label_law="training.sampling.label_law:covered",
            settings={"ratio": "coverage"},
            lower_first=True,
        ),
    )
}
"""Which two images are mixed, by the word of ``--sampler``."""
