"""Why a finished run is wrong on a class: the class is not preferred, its vector has collapsed, or it was not fitted.

Needs no torch.
"""

from __future__ import annotations

import itertools
import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lpm.console.errors import InvalidInput
from lpm.console.text import counted
from training.config import CHOICES, RunConfig, with_preset
from training.methods import CLASSIFIERS, LOSSES
from training.store import collapse, confusions, posthoc
from training.store.metrics import by_class
from training.store.runs import RunFolder

Verdict = Literal["fine", "not preferred", "collapsed", "unfitted", "no test images"]

NEAR = 0.1
"""Two class vectors v and w have merged where |v - w|^2 is below this share of |v|^2 + |w|^2, both centred over all classes."""

MUCH = 10.0
"""Per cent of a class's test images that another rule must win before the class counts as not preferred."""

CLOSE = 0.2
"""mu over the threshold of the law from which on a class that no correction brings back has collapsed. Networks on CIFAR-10
lose rare classes' own directions at .3 of it after 30 epochs, later after more; runs with the usual weight decay are below
.02 (docs/theory/law-networks.md)."""

FEW_IMAGES = 10
"""Test images of a class below which a sentence says how few there are."""

UNWEIGHTED = {
    name: getattr(RunConfig(), name) for name in ("class_weights", "beta", "weights_from", "weight_normalisation")
}
"""No class weights: beside another correction they would favour the rare classes twice."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is known of one class. Shares are in per cent of its test images.

    Attributes:
        name: its name.
        images: its training images.
        tested: its test images.
        right: predicted as it; NaN without test images, as the next ones.
        among_split: predicted as it where only the classes of its split can be chosen.
        chance: what a guess among these classes gives.
        corrected: predicted as it by argmax of z - log pi, pi the class frequencies of the training labels as the sampler draws
            them; as trained where the loss corrects for them already. None where that is not defined, or neither features of
            the test images nor a correction by ``training.posthoc`` were stored.
        mu: the decay that the class vectors are under; NaN where it is not defined.
        collapse_number: c of the class; None where the law has none.
        nearest: the name of the class with the nearest class vector.
        distance: |v - w|^2 / (|v|^2 + |w|^2) to it.
        answers: how many classes the network chooses for some test image.
    """

    name: str
    images: int
    tested: int
    right: float
    among_split: float
    chance: float
    corrected: float | None
    mu: float
    collapse_number: float | None
    nearest: str
    distance: float
    answers: int

    @property
    def threshold(self) -> float | None:
        """The decay above which the law lets the class vectors of such classes merge."""
        return None if self.collapse_number is None else math.sqrt(self.collapse_number)

    @property
    def verdict(self) -> Verdict:
        """What is wrong with the class."""
        alone = self.chance == 100  # the only class of its split
        if not self.tested:
            return "no test images"
        if self.distance < NEAR or self.beyond:
            return "collapsed"
        if alone:  # so that all of its images are right among its split, whatever the network does
            if self.corrected is not None and self.corrected - self.right <= MUCH:
                return "fine" if self.right >= 50 else "unfitted"
            return "fine" if self.corrected is None and self.right >= 50 else "not preferred"
        if self.among_split < (self.chance + 100) / 2:
            return "unfitted"
        if max(self.among_split, self.corrected or 0.0) - self.right <= MUCH:
            return "fine"
        return "collapsed" if self.absorbed else "not preferred"

    @property
    def beyond(self) -> bool:
        """Whether mu is at or above the threshold, and the class is mostly wrong or all images get one class."""
        if self.threshold is None or not self.mu >= self.threshold:
            return False
        return self.right < 50 or self.answers == 1

    @property
    def absorbed(self) -> bool:
        """Whether mu is near the threshold, the class is mostly wrong, and the correction does not bring it back."""
        if self.threshold is None or self.mu < CLOSE * self.threshold or self.corrected is None or self.chance == 100:
            return False
        return self.corrected - self.right <= MUCH and max(self.right, self.corrected) < self.among_split / 2

    @property
    def sentence(self) -> str:
        """The verdict with its numbers."""
        fixed = "" if self.corrected is None else f"; argmax of z - log pi makes it {self.corrected:.0f} %"
        law = ""
        if self.threshold is not None and math.isfinite(self.mu):
            law = f"; mu = {self.mu:.3g} is {self.mu / self.threshold:.2g} of its threshold {self.threshold:.3g}"
        few = f" ({counted(self.tested, 'test image')})" if self.tested < FEW_IMAGES else ""
        if self.chance == 100 and self.verdict in ("not preferred", "unfitted"):
            unknown = "; whether it is told apart is not known" if self.corrected is None else fixed
            return f"It is right in {self.right:.0f} %{few}, and the only class of its split{unknown}{law}."
        return {
            "no test images": "There are no test images of it.",
            "fine": f"It is predicted right in {self.right:.0f} %.",
            "not preferred": f"It is told apart, {self.among_split:.0f} % among its own split, but chosen in {self.right:.0f} % "
            f"only{few}{fixed}{law}.",
            "unfitted": f"It is right in {self.among_split:.0f} % even among its own split, {self.right:.0f} % in "
            f"all{few}{law}.",
            "collapsed": f"Its class vector has merged with that of {self.nearest}{law}; logit adjustment cannot separate them."
            if self.distance < NEAR
            else f"All test images get one class{law}: nothing seems left of any class."
            if self.answers == 1
            else "Its class vector seems to have little of a direction of its own left: it is right in "
            f"{self.among_split:.0f} % among its own split, but in {self.right:.0f} % among all classes{fixed}{law}.",
        }[self.verdict]


@dataclass(frozen=True, kw_only=True)
class Split:
    """The classes with many, medium or few training images. Shares are means over its classes, in per cent.

    Attributes:
        name: 'many', 'med' or 'few'.
        right: test images that are predicted right.
        corrected: the same by argmax of z - log pi; None without features.
    """

    name: str
    right: float
    corrected: float | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The diagnosis of a run.

    Attributes:
        run: its folder.
        method: its method.
        mu: the decay that its class vectors are under.
        mu_known: whether mu was chosen; otherwise it is measured by balance.
        right: test images that are predicted right, the mean over classes in per cent.
        corrected: the same by argmax of z - log pi; None where it is not defined, without features, and where the loss
            corrects already.
        splits: both for each split that has test images.
        classes: the diagnoses, by falling count of training images.
        singular_values: of the centred class vectors, falling.
        next_command: what to try next; '' where nothing is wrong. For a second stage it diagnoses the first one.
    """

    run: str
    method: str
    mu: float
    mu_known: bool
    right: float
    corrected: float | None
    splits: tuple[Split, ...]
    classes: tuple[Diagnosis, ...]
    singular_values: tuple[float, ...]
    next_command: str

    @property
    def thresholds(self) -> tuple[tuple[float, float], ...] | None:
        """For each of the K - 1 directions the two decays near or between which it leaves; None where the law has none.

        j directions need j + 1 classes. So the j-th leaves near the thresholds of the j-th and the (j + 1)-th class, by falling
        threshold. They are equal inside a group of equal classes, where the law is exact.
        """
        numbers = [c.collapse_number for c in self.classes if c.collapse_number is not None]
        falling = [math.sqrt(c) for c in sorted(numbers, reverse=True)]
        return tuple(itertools.pairwise(falling)) or None


def of(folder: RunFolder) -> Report:
    """Diagnose a finished run.

    Args:
        folder: the run.

    Returns:
        The report.

    Raises:
        InvalidInput: if the run is not finished, or its files are damaged.
    """
    config, result = folder.config, folder.result()
    confusions.of(folder)  # which refuses damaged predictions and class vectors
    counts, splits = np.array(result.train_counts), confusions.splits_of(folder)
    geometry, final, K = folder.geometry(config.epochs), folder.final(), config.K
    labels, answers, vectors = final["test_labels"], final["test_answers"], geometry["class_vectors"].astype(float)
    scores = _scores(folder, geometry, final)
    total = by_class(labels, labels, K)[1]
    shares = [by_class(labels, predicted, K)[0] for predicted in answers.T]
    drawn = collapse.label_shares(config, counts)
    if corrects := _corrects(config):
        shares.append(shares[0])
    elif scores is not None and drawn is not None:
        shares.append(by_class(labels, (scores - np.log(drawn)).argmax(axis=1), K)[0])
    elif stored := posthoc.corrected(folder, posthoc.TITLES["la"]):  # as training.posthoc measured it
        shares.append(np.array([share or 0.0 for share in stored.per_class]) * total / 100)
    with np.errstate(invalid="ignore"):  # 0 / 0 for a class without test images
        right, among, *corrected = (100 * share / total for share in shares)
    names = result.class_names if len(result.class_names) == K else tuple(map(str, range(K)))
    numbers = collapse.collapse_numbers(config, counts)
    mu, distances = _decay(folder, geometry, final, counts), _distances(vectors)
    classes = [
        Diagnosis(
            name=names[k],
            images=int(counts[k]),
            tested=int(total[k]),
            right=float(right[k]),
            among_split=float(among[k]),
            chance=100 / (last - first + 1),
            corrected=float(corrected[0][k]) if corrected else None,
            mu=mu,
            collapse_number=None if numbers is None else float(numbers[k]),
            nearest=names[int(distances[k].argmin())],
            distance=float(distances[k].min()),
            answers=len(np.unique(answers[:, 0])),
        )
        for first, last in splits.values()
        for k in range(first, last + 1)
    ]

    def mean(rows: np.ndarray, values: np.ndarray) -> float:
        return float(values[rows][total[rows] > 0].mean())

    of_all, gains = np.arange(K), corrected if not corrects else []
    before, after = mean(of_all, right), mean(of_all, gains[0]) if gains else None
    of_split = {name: of_all[first : last + 1] for name, (first, last) in splits.items()}
    return Report(
        run=str(folder.path),
        method=config.method,
        mu=mu,
        mu_known=bool(config.feature_decay),
        right=before,
        corrected=after,
        splits=tuple(
            Split(name=name, right=mean(rows, right), corrected=mean(rows, gains[0]) if gains else None)
            for name, rows in of_split.items()
            if total[rows].any()
        ),
        classes=tuple(classes),
        singular_values=tuple(collapse.singular_values(vectors).tolist()),
        next_command=_next(folder, mu, classes, None if after is None else after - before),
    )


def _damaged(folder: RunFolder) -> InvalidInput:
    return InvalidInput(f"measurements in {str(folder.path)!r} do not fit the run; training.measure makes them again")


def _corrects(config: RunConfig) -> bool:
    """Whether the loss makes up for the class frequencies of training labels. Once more would be too much."""
    loss = LOSSES[config.loss]
    return loss.takes == "frequencies" or loss.corrects or config.class_weights != "none"


def _scores(folder: RunFolder, geometry: dict[str, np.ndarray], final: dict[str, np.ndarray]) -> np.ndarray | None:
    """Logits (n, K) of the test images; None without stored features (image files), or where log pi would decide alone."""
    if "test_features" not in final or not CLASSIFIERS[folder.config.classifier].trains_lengths:
        return None
    h, W, bias = (
        final["test_features"].astype(float),
        geometry["class_vectors"],
        geometry.get("class_bias", np.zeros(1)),
    )
    if h.shape != (len(final["test_labels"]), W.shape[1]) or bias.shape not in ((1,), W.shape[:1]):
        raise _damaged(folder)
    scores: np.ndarray = h @ W.T + bias
    if not np.isfinite(scores).all():
        raise _damaged(folder)
    return scores


def _decay(
    folder: RunFolder, geometry: dict[str, np.ndarray], final: dict[str, np.ndarray], counts: np.ndarray
) -> float:
    config = folder.config
    if not CLASSIFIERS[config.classifier].trains_lengths or config.branches != "none":
        return math.nan  # which is for class vectors and inputs of one network
    try:
        squared = collapse.mean_squared_length(config, geometry, final.get("pair_counts"), counts)
    except (KeyError, ValueError, IndexError):
        raise _damaged(folder) from None
    if not math.isfinite(squared):
        raise _damaged(folder)
    return collapse.decay(config, geometry["class_vectors"], squared)


def _distances(vectors: np.ndarray) -> np.ndarray:
    """|v - w|^2 / (|v|^2 + |w|^2) of all pairs of centred class vectors, (K, K), infinite on the diagonal."""
    centred = vectors - vectors.mean(axis=0)
    squares = (centred**2).sum(axis=1)
    sums = squares[:, None] + squares
    distances = (sums - 2 * centred @ centred.T) / np.maximum(sums, np.finfo(float).tiny)
    np.fill_diagonal(distances, np.inf)
    return np.maximum(distances, 0.0)


def _next(folder: RunFolder, mu: float, classes: list[Diagnosis], gain: float | None) -> str:
    """The command to try next, for the verdict that matters most: collapsed, then not preferred, then unfitted.

    gain: what the correction adds to the accuracy over all classes, in points; None where that is not known.
    """
    config, verdicts = folder.config, {found.verdict for found in classes} - {"fine", "no test images"}
    store = folder.path.parents[1]
    if not verdicts:
        return ""
    if config.stage != "none":  # whose features are those of its first stage
        first = sorted(folder.path.parents[1].glob(f"*-{config.stage1}/seed-{config.seed}"))
        return shlex.join(["python", "-m", "training.diagnose", str(first[0])]) if first else ""
    if "collapsed" in verdicts:
        return _against_collapse(config, store, mu, classes)
    drawn = collapse.label_shares(config, np.array(folder.result().train_counts))
    adjusts = drawn is not None and np.ptp(drawn) > 0 and CLASSIFIERS[config.classifier].trains_lengths
    worth = adjusts and not _corrects(config) and (gain is None or gain > 1)
    if "not preferred" in verdicts and worth:  # costs no training
        words = ["python", "-m", "training.posthoc", str(folder.path), "--correction", "la"]
        return shlex.join([*words, *(["--data-root", "DIR"] if config.data_set.needs_root else [])])
    if "not preferred" in verdicts and config.sampler == "random":
        adjustable = config.classifier == "fc" and config.loss in ("ce", "cw")
        changes = {"loss": "la", **UNWEIGHTED} if adjustable else {"sampler": "cas", **UNWEIGHTED}
        if known := command(config, store, **changes):
            return known
    return command(config, store, epochs=2 * config.epochs)


def _against_collapse(config: RunConfig, store: Path, mu: float, classes: list[Diagnosis]) -> str:
    numbers = [c.collapse_number for c in classes if c.verdict == "collapsed" and c.collapse_number is not None]
    threshold = math.sqrt(min(numbers)) if numbers else math.nan
    if config.feature_decay and not config.decay_warmup and mu < threshold:  # the law lets the classes live
        return command(config, store, decay_warmup=config.epochs // 2)
    s = (config.alpha + 1) / (2 * config.alpha + 1)
    if (
        config.sampler == "random"
        and config.loss != "cw"
        and config.class_weights == "none"
        and mu < 0.8 * math.sqrt(s / config.K)
    ):
        return command(config, store, sampler="cas")
    factor = 0.8 * threshold / mu if mu > threshold else 0.5
    # mu is the root of l_H l_W, or l_W |W| / |h| by balance; l_W is the weight decay unless the classifier has its own.
    of_W = "classifier_decay" if config.classifier_decay else "weight_decay"
    if not config.feature_decay:
        factors = {of_W: factor}
    elif config.classifier_decay:
        factors = {of_W: factor, "feature_decay": factor}
    else:  # the weight decay is the other layers', too
        factors = {"feature_decay": factor**2}
    return command(config, store, **{name: float(f"{f * getattr(config, name):.2g}") for name, f in factors.items()})


def command(config: RunConfig, store: Path, **changes: Any) -> str:
    """Write the command that trains a run with some choices changed.

    Args:
        config: the run.
        store: the folder of the run store.
        changes: the choices that differ from it.

    Returns:
        The command, with the options in which the run differs from its preset; '' if the choices do not go together, or are
        the run's own.
    """
    try:
        wanted = replace(config, **changes)
        base = with_preset(RunConfig(dataset=config.dataset, classes=config.classes), config.preset.removesuffix("+"))
    except InvalidInput:
        return ""
    if wanted == config:
        return ""
    words = ["python", "-m", "training.train", "--dataset", config.dataset, "--preset", base.preset]
    words += [] if config.data_set.files else ["--imbalance", f"{config.imbalance:g}"]
    for name, known in CHOICES.items():
        value = getattr(wanted, name)
        if not known.listed or name in ("dataset", "imbalance", "classes") or value == getattr(base, name):
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, tuple):
            words += [f"--{option}", ",".join(map(str, value))]
        else:
            words += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    words += ["--data-root", "DIR"] if config.data_set.needs_root else []
    words += ["--weights", "FILE"] if config.pretrained else []
    words += ["--store", str(store)] if store != Path("runs") else []
    return shlex.join([*words, "--seeds", str(config.seed)])
