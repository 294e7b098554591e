"""The classifiers that a run can name: one row each."""

from __future__ import annotations

from training.registry.kinds import Classifier

CLASSIFIERS: dict[str, Classifier] = {
    row.name: row
    for row in (
        Classifier(
            name="fc",
            title="FC",
            help="the usual linear layer",
            make="training.model.classifiers:FC",
            settings={"bias": "bias"},
            takes_loss=True,
        ),
        Classifier(
            name="ms",
            title="MS",
            help="mixed-singleton, the paper's classifier: all K^2 label pairs are classes",
            make="training.model.classifiers:MixedSingleton",
            settings={"bias": "bias"},
            singleton=True,
        ),
        Classifier(
            name="ms-unordered",
            title="MS",
            help="mixed-singleton with the label pairs a < b as classes",
            make="training.model.classifiers:MixedSingleton",
            settings={"bias": "bias"},
            fixed={"unordered": True},
            singleton=True,
            pairs="a < b",
        ),
        Classifier(
            name="cosine",
            title="cosine",
            help="cosines of features and class vectors, times a scale",
            make="training.model.cosine:Cosine",
            settings={"scale": "cosine_scale"},
            takes_loss=True,
            trains_lengths=False,
            features="unit",
            linear=False,
        ),
        Classifier(
            name="etf",
            title="ETF",
            help="class vectors fixed as a simplex equiangular tight frame",
            make="training.model.classifiers:FixedETF",
            losses=("ce", "dr"),
            takes_loss=True,
            names_loss=True,
            random=True,
            trains_lengths=False,
            features="norm-unit",
        ),
        Classifier(
            name="ms-wetf",
            title="MS-WETF",
            help="mixed-singleton whose class vectors are a simplex ETF with learned lengths",
            make="training.model.classifiers:MixedSingletonETF",
            settings={"scale": "scale"},
            singleton=True,
            names_loss=True,
            random=True,
            features="norm-unit",
        ),
        Classifier(
            name="ms-wetf-unordered",
            title="MS-WETF",
            help="the same with the label pairs a < b as classes",
            make="training.model.classifiers:MixedSingletonETF",
            settings={"scale": "scale"},
            fixed={"unordered": True},
            singleton=True,
            pairs="a < b",
            names_loss=True,
            random=True,
            features="norm-unit",
        ),
    )
}
"""What turns features into logits, by the word of ``--classifier``."""
