"""The losses that a run can name: one row each."""

from __future__ import annotations

from training.registry.kinds import Loss

LOSSES: dict[str, Loss] = {
    row.name: row
    for row in (
        Loss(
            name="ce",
            title="CE",
            help="cross-entropy on mixed labels; for ms and ms-wetf over label pairs",
            make="training.model.losses:cross_entropy_loss",
        ),
        Loss(
            name="dr",
            title="DR",
            help="dot regression, for fixed class vectors",
            make="training.model.losses:dot_regression_loss",
        ),
        Loss(
            name="la",
            title="LA",
            help="logit adjustment: cross-entropy of the logits plus tau times the log of the class frequencies",
            make="training.model.long_tail_losses:LogitAdjustment",
            settings={"tau": "tau"},
            classifiers=("fc",),
        ),
        Loss(
            name="cw",
            title="CW",
            help="class weights: a label's cross-entropy times N / (K n), n images of its class among N",
            make="training.model.long_tail_losses:ClassWeights",
            classifiers=("fc",),
        ),
    )
}
"""What is minimised, by the word of ``--loss``; mixed-singleton classifiers have their own cross-entropy over label pairs,
:func:`training.model.losses.mixed_singleton`.
"""
