"""The mixing laws that a run can name: one row each."""

from __future__ import annotations

from training.registry.kinds import Law

LAWS: dict[str, Law] = {
    row.name: row
    for row in (
        Law(
            name="mixup",
            title="mixup",
            help="images and labels are mixed by one ratio",
            make="training.batches.laws:mixup",
            mean="training.batches.mean_weights:symmetric",
            takes_ratios=True,
        ),
        Law(
            name="remix",
            title="Remix",
            help="images as mixup; the rarer of two classes gets the whole label where counts differ much",
            make="training.batches.laws:remix",
            mean="training.batches.mean_weights:remix",
            settings={"kappa": "remix_kappa", "tau": "remix_tau"},
            takes_ratios=True,
            labels_as_images=False,
        ),
        Law(
            name="mamix",
            title="MAMix",
            help="images as mixup; labels have equal weight where margins say so, nearer to the frequent image",
            make="training.batches.laws:mamix",
            mean="training.batches.mean_weights:mamix",
            settings={"c": "mamix_c"},
            takes_ratios=True,
            labels_as_images=False,
        ),
        Law(
            name="unimix",
            title="UniMix",
            help="one ratio per pair, which leans to the rarer class; alpha is 0.8 unless given",
            make="training.batches.laws:unimix",
            mean="training.batches.mean_weights:unimix",
            alpha=0.8,
        ),
        Law(
            name="cutmix",
            title="CutMix",
            help="a box of the second image is pasted into the first, in a share of the batches",
            make="training.batches.boxes:cutmix",
            mean="training.batches.mean_weights:cutmix",
            settings={"probability": "box_probability"},
            boxes=True,
        ),
        Law(
            name="cmo",
            title="CMO",
            help="cutmix but in the first and last epochs; with sampler 'bilateral' the method CMO",
            make="training.batches.boxes:cmo",
            mean="training.batches.mean_weights:cmo",
            settings={"probability": "box_probability", "first": "cmo_first", "last": "cmo_last"},
            boxes=True,
        ),
        Law(
            name="otmix-train",
            title="OTMix-train",
            help="cmo, with backgrounds matched by features and the confusion of training images; alpha is 4 unless given",
            make="training.batches.boxes:cmo",
            mean="",
            settings={"probability": "box_probability", "first": "cmo_first", "last": "cmo_last"},
            boxes=True,
            matched=True,
            alpha=4.0,
        ),
        Law(
            name="manifold",
            title="manifold",
            help="pooled features are mixed instead of images",
            make="training.batches.laws:mixup",
            mean="training.batches.mean_weights:symmetric",
            takes_ratios=True,
            of_features=True,
        ),
    )
}
"""How two images and their labels are mixed, by the word of ``--mixing``."""
