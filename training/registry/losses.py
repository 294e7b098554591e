"""The losses that a run can name: one row each."""

from __future__ import annotations

from training.registry.kinds import Loss

LINEAR = ("fc", "ms", "ms-unordered")
"""Classifiers whose logits are free to grow."""

BOUNDED = "it multiplies logits, which need lengths that can grow"

FIXED = "class vectors that are fixed are trained with cross-entropy or dot regression"

LOSSES: dict[str, Loss] = {
    row.name: row
    for row in (
        Loss(
            name="ce",
            title="CE",
            help="cross-entropy on mixed labels; for ms and ms-wetf over label pairs",
            make="training.model.label_losses:CrossEntropy",
            takes="nothing",
            weighted=True,
        ),
        Loss(
            name="dr",
            title="DR",
            help="dot regression, for fixed class vectors",
            make="training.model.losses:dot_regression_loss",
            reason="it pulls features to class vectors of unit length",
        ),
        Loss(
            name="la",
            title="LA",
            help="logit adjustment: cross-entropy of the logits plus tau times the log of the class frequencies",
            make="training.model.long_tail_losses:LogitAdjustment",
            settings={"tau": "tau"},
            classifiers=(*LINEAR, "cosine"),
            takes="frequencies",
            weighted=True,
            reason="log frequencies dwarf logits that are cosines",
        ),
        Loss(
            name="vs",
            title="VS",
            help="vector scaling: logit adjustment of logits times (n / n_max)^gamma, n images of the class",
            make="training.model.long_tail_losses:VectorScaling",
            settings={"gamma": "vs_gamma", "tau": "tau"},
            classifiers=LINEAR,
            takes="frequencies",
            weighted=True,
            reason=BOUNDED,
        ),
        Loss(
            name="cdt",
            title="CDT",
            help="class-dependent temperature: cross-entropy of logits times (n / n_max)^gamma",
            make="training.model.long_tail_losses:VectorScaling",
            settings={"gamma": "vs_gamma"},
            fixed={"tau": 0.0},
            classifiers=LINEAR,
            takes="frequencies",
            weighted=True,
            reason=BOUNDED,
        ),
        Loss(
            name="temperature",
            title="T",
            help="DBN-Mix's temperature: cross-entropy of logits that are divided by more for rarer classes",
            make="training.model.long_tail_losses:Temperature",
            settings={"eps": "temperature_eps", "eta": "temperature_eta"},
            classifiers=LINEAR,
            weighted=True,
            corrects=True,
            reason=BOUNDED,
        ),
        Loss(
            name="complement",
            title="CL",
            help="DBN-Mix's loss: binary cross-entropies of softmax probabilities over all classes, with its temperature",
            make="training.model.complement:Complement",
            settings={"eps": "temperature_eps", "eta": "temperature_eta"},
            classifiers=("fc",),
            corrects=True,
            reason="its binary terms are of single classes whose logits can grow",
        ),
        Loss(
            name="focal",
            title="Focal",
            help="focal loss: a label's cross-entropy times (1 - p)^gamma, p its probability",
            make="training.model.label_losses:Focal",
            settings={"gamma": "focal_gamma"},
            classifiers=("fc", "cosine"),
            takes="nothing",
            weighted=True,
            reason="a label pair has no focal loss that is published",
            reason_of_labels=FIXED,
        ),
        Loss(
            name="focal-ldam",
            title="Focal-LDAM",
            help="focal loss as LDAM-DRW's code has it, with the class weight inside the exponent",
            make="training.model.label_losses:FocalOfWeighted",
            settings={"gamma": "focal_gamma"},
            classifiers=("fc", "cosine"),
            takes="nothing",
            weighted=True,
            reason="a label pair has no focal loss that is published",
            reason_of_labels=FIXED,
        ),
        Loss(
            name="ldam",
            title="LDAM",
            help="cross-entropy with margins between cosines, larger for rarer classes",
            make="training.model.label_losses:LDAM",
            settings={"max_margin": "max_margin", "scale": "cosine_scale"},
            classifiers=("cosine",),
            weighted=True,
            reason="its margins are those of cosines",
        ),
        Loss(
            name="cw",
            title="CW",
            help="class weights: a label's cross-entropy times N / (K n), n images of its class among N",
            make="training.model.long_tail_losses:ClassWeights",
            classifiers=("fc",),
            corrects=True,
            reason="a label pair has no published weight",
            reason_of_labels="--class-weights inverse gives it these weights",
        ),
    )
}
"""What is minimised, by the word of ``--loss``; mixed-singleton classifiers have their own cross-entropy over label pairs,
:func:`training.model.losses.mixed_singleton`.
"""
