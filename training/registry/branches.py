"""The branched networks that a run can name: one row each."""

from __future__ import annotations

from training.registry.kinds import Branching

BRANCHES: dict[str, Branching] = {
    row.name: row
    for row in (
        Branching(
            name="none",
            title="",
            help="one network",
            make="training.run.objective:Objective",
        ),
        Branching(
            name="dbn",
            title="DBN",
            help="DBN-mix: the last stage and the classifier exist twice; one branch is shown each mixture, the other one with "
            "exchanged shares, and the score is the mean of both logits",
            make="training.run.branch_objectives:DBN",
            ratios="training.batches.branch_ratios:folded",
            share="training.batches.branch_ratios:mean_share",
            doubled="stage",
            heads=2,
            usual="bilateral+FC+CL",
        ),
        Branching(
            name="bbn",
            title="BBN",
            help="BBN: the last block exists twice; one branch is shown the first image of a pair, the other the second, and one "
            "classifier has the features of both, whose shares change from epoch to epoch",
            make="training.run.branch_objectives:BBN",
            ratios="training.batches.branch_ratios:falling",
            share="training.batches.branch_ratios:mean_share",
            doubled="block",
            usual="bilateral(second-power=-1)+FC",
        ),
    )
}
"""How many branches the network has, by the word of ``--branches``."""
