"""The page about choosing a method, held to the committed rows: red when either changes alone."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from figures import cure_measures, cure_tables, cures
from figures.cure_programs import method_of
from figures.style import Row
from lpm.cure_table import margin
from lpm.pairs import class_counts
from lpm.solve import solve
from tests.pages import ROOT, text
from training.config import RunConfig
from training.experiments import config, runs_of
from training.registry.classifiers import CLASSIFIERS
from training.store import posthoc

PAGE = "docs/practice/choosing-a-method.md"
ROWS = cures.means(cures.read(cures.ROWS))
METHOD = {row["method"]: row for row in ROWS}
OTHERS = [row for row in ROWS if row["method"] != cures.PLAIN]
PLAIN = METHOD[cures.PLAIN]
COLUMNS = ("dataset", "model", "split", "epochs", "method")
CIFAR10 = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)


def of(row: Row, name: str, form: str = ".1f") -> str:
    return format(row[name], form)


def ends(name: str, rows: list[Row] | None = None) -> tuple[str, str]:
    """The smallest and the largest value of a column, of those that are there."""
    values = [row[name] for row in (rows or ROWS) if not math.isnan(row[name])]
    return f"{min(values):.1f}", f"{max(values):.1f}"


def committed(epochs: int, split: str = "all") -> dict[str, float]:
    """Mean accuracies of the committed runs of ResNet-8 on CIFAR10-LT, by method; by method and recipe for a changed recipe."""
    accuracies = defaultdict(list)
    with (ROOT / "results" / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            run = row["dataset"], row["model"], row["split"], row["epochs"]
            corrected = row["method"].endswith(tuple(f", {title}" for title in posthoc.TITLES.values()))
            if not corrected and run == ("cifar10-jpeg-lt", "resnet8", split, str(epochs)):
                changed = epochs == 30 and row["preset"] != "quick"
                accuracies[row["method"] + f" {row['preset']}" * changed].append(float(row["accuracy"]))
    return {method: float(np.mean(values)) for method, values in accuracies.items()}


def at_plain_mu(method: str) -> float:
    """The margin that the model predicts for a method at the plain run's decay."""
    run = runs_of(RunConfig(), method)[-1]
    margin = cure_measures.predicted(run, PLAIN["mu"], np.array(CIFAR10), {"few": (7, 9)})["predicted_margin_few"]
    return float(margin)


def named(row: Row) -> str:
    return f"`{row['method']}`"


def reading() -> list[str]:
    """What the first table says, if it does."""
    best, second = sorted(OTHERS, key=lambda row: row["gain"])[:-3:-1]
    retrained = [row for row in OTHERS if not math.isnan(row["representation"])]
    worst, least = (pick(retrained, key=lambda row: row["representation"]) for pick in (min, max))
    assert all(row["representation"] < 0 for row in retrained)
    quick, long, few = committed(30), committed(100), committed(30, "few")
    apart = sorted(ROWS, key=lambda row: row["among_few"])
    with_factors = ", ".join(f"{of(row, 'among_few')} % ({named(row)})" for row in apart[:4])
    assert [row["method"] for row in apart[:4]] == [f"random+FC+{name}" for name in ("CDT", "CL", "T", "VS")]
    adjusted, ours = seeds_of(100, ADJUSTED), seeds_of(30, ADJUSTED)
    p = {method: welch(ours, seeds_of(30, method)) for method in (best["method"], second["method"], "BMLS+MS")}
    assert np.mean(ours) > quick["BMLS+MS"]
    assert p["BMLS+MS"] < 0.05 < min(p[best["method"]], p[second["method"]])
    mixed = [row for row in retrained if "no mixup" not in row["method"] and row["method"] != "random+FC"]
    beyond = sorted((row["crt_all"] - METHOD["random+FC"]["crt_all"], row["method"]) for row in mixed)
    assert METHOD["random+FC"]["runs"] == 1
    with_mixup, without = ((quick[name], few[name], len(seeds_of(30, name))) for name in ("CAS+FC", "CAS+FC, no mixup"))
    assert without[2] == 2
    assert all(PLAIN["crt_all"] >= row["crt_all"] for row in retrained)
    calibrated = min(ROWS, key=lambda row: row["ece"])
    defined = {row["method"]: row["la_all"] - row["all"] for row in ROWS if not math.isnan(row["la_all"])}
    even = {method: gain for method, gain in defined.items() if method.startswith("BMLS")}
    added = [gain for method, gain in defined.items() if method not in even]
    assert max(even.values()) < 0
    assert min(np.mean(adjusted), long[best["method"]]) > max(long["BMLS+MS"], long["CAS+FC"])
    assert len(seeds_of(100, best["method"])) == 1
    return [
        "At equal epochs it is level with the best methods that were trained: "
        f"{named(best)} has {quick[best['method']]:.1f} % and {named(second)} {quick[second['method']]:.1f} %, beside "
        f"{np.mean(ours):.1f} % (p = {short(p[best['method']])} and {short(p[second['method']])}). It is "
        f"{np.mean(ours) - quick['BMLS+MS']:.1f} points above BMLS+MS (p = {short(p['BMLS+MS'])}, not corrected for the number "
        f"of methods). On few classes {named(best)} has {few[best['method']]:.1f} %, beside "
        f"{np.mean(seeds_of(30, ADJUSTED, 'few')):.1f} %.",
        "**Against plain training without mixup no gain is representation.** With a retrained classifier its features give "
        f"{of(PLAIN, 'crt_all')} %, and those of the methods {of(worst, 'crt_all')} ({named(worst)}) to "
        f"{of(least, 'crt_all')} % ({named(least)}).",
        f"**Against plain training with mixup {sum(gain > 0 for gain, _ in beyond)} of {len(beyond)} methods that mix have "
        f"some,** up to {beyond[-1][0]:.1f} points (`{beyond[-1][1]}`). That baseline has one seed.",
        f"**Mixup costs {quick[cures.PLAIN] - quick['random+FC']:.1f} points at 30 epochs:** `random+FC` has "
        f"{quick['random+FC']:.1f} %. With balanced sampling it helps: CAS+FC has {with_mixup[0]:.1f} % with it and "
        f"{without[0]:.1f} % without, and {with_mixup[1]:.1f} and {without[1]:.1f} % on few (two seeds without).",
        "**A post-hoc correction of the plain run gets as much as the best methods in the table.** It lifts the plain run "
        f"from {of(PLAIN, 'all')} to {of(PLAIN, 'la_all')} %, and its few classes from {of(PLAIN, 'few')} to "
        f"{of(PLAIN, 'la_few')} %. Over all committed seeds BMLS+MS has "
        f"{quick['BMLS+MS']:.1f} % and CAS+FC {quick['CAS+FC']:.1f} %.",
        f"**All runs but those with factors on logits tell rare classes apart.** Among themselves these are right in "
        f"{of(apart[4], 'among_few')} to {of(apart[-1], 'among_few')} %, and with factors in "
        f"{with_factors}. The plain run predicts {of(PLAIN, 'few_as_many')} % of their images as a class with many images.",
        f"**Logit adjustment works on runs without another correction.** It adds {min(added):.1f} to {max(added):.1f} points to "
        f"them. Where labels are nearly even ({' and '.join(f'`{method}`' for method in sorted(even))}) it takes "
        f"{-min(even.values()):.1f} points at the most. After a balanced sampler that mixes plainly, or a loss that corrects, it "
        "is not defined: the prior is even, or used already.",
        f"**Correction mends confidence, too.** The plain run's calibration error is {of(PLAIN, 'ece')} %, and "
        f"{of(PLAIN, 'la_ece')} % after logit adjustment. The lowest is {of(calibrated, 'ece')} % ({named(calibrated)}); "
        f"{named(best)} has {of(best, 'ece')} %.",
        "**After 100 epochs the two methods without mixup are further ahead.** The plain run has "
        f"{np.mean(adjusted):.1f} % after logit adjustment ({len(adjusted)} seeds), LDAM+DRW "
        f"{long[best['method']]:.1f} % (one seed), BMLS+MS {long['BMLS+MS']:.1f} % and CAS+FC {long['CAS+FC']:.1f} %. Which of "
        "the first two is better is not decided.",
    ]


def nearest_mean() -> str:
    """What the nearest class mean has beside logit adjustment, at 30 and 100 epochs."""
    means, las = (
        [np.mean(seeds_of(epochs, f"{cures.PLAIN}, {posthoc.TITLES[name]}")) for epochs in (30, 100)]
        for name in ("ncm", "la")
    )
    return (
        f"On ResNet-8 the nearest class mean is below logit adjustment, {means[0]:.1f} beside {las[0]:.1f} % after 30 epochs and "
        f"{means[1]:.1f} beside {las[1]:.1f} % after 100 (3 seeds)."
    )


def minutes() -> str:
    """How long runs take: the shortest of each kind, because other work ran beside most."""
    seconds = defaultdict(list)
    with (ROOT / "results" / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["preset"], row["epochs"], row["imbalance"], row["split"]) == ("quick", "30", "100", "all"):
                seconds[row["method"]].append(float(row["train_seconds"]))
    plain = min(seconds[cures.PLAIN])
    words = [f"{name} {min(seconds[name]) / plain:.1f}" for name in ("bilateral+FC+OTMix-train", "BBN", "DBN")]
    return (
        f"A quick run of CIFAR10-LT takes {plain / 60:.1f} minutes of one core with bfloat16 (the shortest plain run). The "
        f"shortest runs of others take, as a multiple of that: {', '.join(words)}."
    )


ADJUSTED = f"{cures.PLAIN}, {posthoc.TITLES['la']}"


def seeds_of(epochs: int, method: str, split: str = "all") -> list[float]:
    """Accuracies of the committed runs of ResNet-8 on CIFAR10-LT at imbalance 100 with the usual recipe but for the epochs."""
    usual = ("cifar10-jpeg-lt", "100", "resnet8", split, str(epochs), method)
    with (ROOT / "results" / "runs.csv").open(newline="") as file:
        return [
            float(row["accuracy"])
            for row in csv.DictReader(file)
            if tuple(row[name] for name in ("dataset", "imbalance", "model", "split", "epochs", "method")) == usual
            and (epochs != 30 or row["preset"] == "quick")
        ]


def welch(first: list[float], second: list[float]) -> float:
    """p of Welch's test."""
    from scipy.stats import ttest_ind

    return float(ttest_ind(first, second, equal_var=False).pvalue)


def short(p: float) -> str:
    """Two digits, without the leading zero."""
    return f"{p:.2g}".lstrip("0")


def r_zero() -> str:
    """What the law says of the imbalance."""
    factors = (
        "random+FC+VS",
        "random+FC+CDT",
        "random+FC+T",
    )  # of rare classes' logits, which shorten their collapse number
    known = {row["method"]: row["predicted_R0"] for row in ROWS if not math.isnan(row["predicted_R0"])}
    lowest, least = (
        min(R for method, R in known.items() if method not in factors),
        min(known[method] for method in factors),
    )
    assert least == min(known.values())
    return (
        "Collapse is not the problem at ordinary weight decay, 2e-4. There the law lets rare classes collapse, with half of the "
        f"classes rare, from an imbalance of about {float(f'{lowest:.1e}'):,.0f} on, and with the factors of VS, CDT and the "
        f"temperature from {float(f'{least:.1e}'):,.0f} on. That is an upper end: networks lose rare classes long before"
    )


def weights() -> str:
    """What class weights cost."""
    row = METHOD["random+FC+CW"]
    return (
        f"Weights 1/n from the start favour few classes ({of(row, 'few')} %), but cost "
        f"{METHOD['random+FC']['crt_all'] - row['crt_all']:.1f} points of representation beside plain mixup. Weights that begin "
        "late (DRW) cost less."
    )


def theory() -> list[str]:
    """What the second table says, if it does."""
    predicted = [row for row in ROWS if not math.isnan(row["predicted_margin_few"])]
    above = [row for row in predicted if row["margin_few"] >= row["predicted_margin_few"]]
    assert [row["method"] for row in above] == ["CAS+FC+DRW, no mixup"]
    shown = [
        row
        for row in predicted
        if not CLASSIFIERS[config(row["method"], "cifar10-lt", 100, "quick").classifier].singleton
    ]
    lengths = [row for row in ROWS if not math.isnan(row["predicted_length_few"])]
    shorter = [row for row in lengths if row["length_few"] <= row["predicted_length_few"]]
    assert all("deferred" in row["method"] or "DRW" in row["method"] for row in shorter)
    ratios = [row["mu"] / row["predicted_threshold"] for row in ROWS if not math.isnan(row["predicted_threshold"])]
    assert max(row["cos_few"] for row in ROWS) < 0.5
    others = [row for row in shown if row["method"] != cures.PLAIN]
    held = [(row["gain"] > 0) == (row["predicted_margin_few"] > PLAIN["predicted_margin_few"]) for row in others]
    wrong = [row for row, right in zip(others, held, strict=True) if not right]
    assert all(row["gain"] < 0 for row in wrong)
    of_wrong = ", ".join(f"{named(row)} ({of(row, 'predicted_margin_few')})" for row in wrong)
    mixup, remix, alone = map(at_plain_mu, ("random+FC", "random+FC+Remix", cures.PLAIN))
    assert min(mixup, remix) > alone
    assert max(committed(30)["random+FC"], METHOD["random+FC+Remix"]["all"]) < PLAIN["all"]
    return [
        f"**Held: no collapse.** μ is at most {max(ratios):.2g} of the threshold, and no run has merged rare classes.",
        "**Refuted: the sign of the gain.** The first nine methods with cross-entropy over classes seemed to gain "
        f"where the predicted margin is above the plain run's {alone:.2f}, and to lose where it is below. Now there are "
        f"{len(others)}, and {len(wrong)} are predicted above it and lose: {of_wrong}. At the plain run's μ the model has longer "
        f"margins for `random+FC` ({mixup:.2f}) and `random+FC+Remix` ({remix:.2f}), too, and both lose.",
        f"**Wrong: lengths.** Rare class vectors are longer than predicted for {len(lengths) - len(shorter)} of {len(lengths)} "
        f"methods, and shorter for {', '.join(map(named, shorter))}. In the plain run they have "
        f"{of(PLAIN, 'length_few', '.2f')} of the frequent ones' length, not {of(PLAIN, 'predicted_length_few', '.2f')}.",
        f"**Wrong: margins.** The model predicts {' to '.join(ends('predicted_margin_few', shown))} where the classes are "
        f"those of the data, and networks have {' to '.join(ends('margin_few', shown))}, above the prediction for "
        f"{named(above[0])} alone. After 30 epochs they are far from any optimum.",
        f"**Wrong: cosines.** The model draws rare classes of the plain run together "
        f"({of(PLAIN, 'predicted_cos_few', '+.2f')}). They are apart ({of(PLAIN, 'cos_few', '+.2f')}).",
    ]


def bias() -> str:
    """The plain run's prediction with a free bias."""
    problem = method_of(replace(config(cures.PLAIN, "cifar10-lt", 100, "quick"))).at(class_counts(CIFAR10))
    given = replace(problem.under_decay(PLAIN["mu"]), bias=True)
    solution = solve(given)
    shape = cure_measures.shape(solution.gram.matrix(solution.problem.members), {"many": (0, 2), "few": (7, 9)})
    values = f"{shape['cos_few']:+.2f}, {shape['length_few']:.2f} and {margin(solution, (7, 8, 9), given):.1f}"
    return f"With a free bias the plain run's are {values}: nearer in cosine and length, not in margin."


def said(words: str) -> str:
    return " ".join(words.split())


def test_predictions_without_a_run_are_those_of_the_page() -> None:
    assert cure_tables.predictions(cures.unmeasured(cures.read(cures.ROWS))).strip() in text(PAGE)


def test_the_tables_are_those_of_the_rows() -> None:
    for table in cure_tables.markdown(ROWS).split("\n\n"):
        assert table.strip() in text(PAGE)


@pytest.mark.parametrize(
    "sentences",
    [reading, theory, *(lambda made=made: [made()] for made in (r_zero, weights, bias, nearest_mean, minutes))],
)
def test_sentences_are_those_of_the_rows(sentences: object) -> None:
    assert callable(sentences)
    for sentence in sentences():
        assert said(sentence) in said(text(PAGE)), sentence


def test_a_bias_moves_the_prediction_as_the_page_says() -> None:
    numbers = [
        float(word)
        for word in bias().replace(",", " ").replace(":", " ").split()
        if word.strip("+-.0123456789") == "" and word != "-"
    ]
    cosine, length, in_margin = numbers
    names = ("cos_few", "length_few", "margin_few")
    before, measured = ([PLAIN[prefix + name] for name in names] for prefix in ("predicted_", ""))
    nearer = [abs(b - m) > abs(a - m) for a, b, m in zip((cosine, length, in_margin), before, measured, strict=True)]
    assert nearer == [True, True, False]


def test_runs_and_images_are_those_of_the_page() -> None:
    rows = cures.read(cures.ROWS)
    assert {(row["dataset"], row["imbalance"], row["epochs"], row["model"]) for row in rows} == {
        ("cifar10-jpeg-lt", 100.0, 30, "resnet8")
    }
    assert f"{sum(CIFAR10):,} training images" in text(PAGE)
    assert {row["runs"] for row in ROWS} <= {1, 2, 3, 4, 5}
    spread = [np.ptp([one["all"] for one in rows if one["method"] == row["method"]]) for row in ROWS if row["runs"] > 1]
    assert f"Those of one method differ by up to {max(spread):.1f} points" in said(text(PAGE))
    without = [row["method"] for row in rows if config(row["method"], "cifar10-lt", 100, "quick").alpha == 0]
    assert set(without) == {method for method in METHOD if "no mixup" in method}
    missing = {"CBS+FC", "BBN"} - set(METHOD)
    assert ("such as CBS+FC and BBN" in text(PAGE)) == (len(missing) == 2)


def test_the_readme_says_what_the_cheapest_has() -> None:
    adjusted, long = np.mean(seeds_of(100, ADJUSTED)), committed(100)
    gain = adjusted - long["BMLS+MS"]
    sentence = (
        f"its logits adjusted afterwards, has {adjusted:.1f} % after 100 epochs, {gain:.1f} points more than BMLS+MS."
    )
    assert sentence in said(text("README.md"))


def test_the_two_choices_of_theory_are_those_of_the_rows() -> None:
    """Means, deviations, Welch's test and Holm's correction of the log's table, from the committed rows."""
    from scipy.stats import ttest_ind

    base = ("BMLS+MS", "quick")
    choices = [("tempered+MS+LA", "quick"), ("BMLS+MS", "quick+d6d029e15754")]
    found = defaultdict(list)
    with (ROOT / "results" / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["dataset"], row["imbalance"], row["model"]) == ("cifar10-jpeg-lt", "100", "resnet8"):
                found[row["method"], row["preset"], row["split"]].append(float(row["accuracy"]))
    log = text("docs/contribute/log.md")
    for method in (base, *choices):
        values = [found[(*method, split)] for split in ("all", "many", "med", "few")]
        assert {len(part) for part in values} == {5}
        assert " | ".join(f"{np.mean(part):.2f} ± {np.std(part, ddof=1):.2f}" for part in values) in log
    ours = found[(*base, "all")]
    p = [float(ttest_ind(found[(*method, "all")], ours, equal_var=False).pvalue) for method in choices]
    holm = [min(1.0, 2 * p[0]), max(min(1.0, 2 * p[0]), p[1])]
    for method, single, corrected in zip(choices, p, holm, strict=True):
        gain = f"{np.mean(found[(*method, 'all')]) - np.mean(ours):+.2f}"
        assert " | ".join([gain, *(f"{x:.2g}".lstrip("0") for x in (single, corrected))]) in log
    assert f"After Holm's correction p is {holm[0]:.2f}".replace("0.", ".") in text("docs/practice/methods/index.md")


def test_ms_against_cas_by_seeds_is_what_the_page_says() -> None:
    """Seeds 3 to 5 were added after the first three; paired by seed p is larger."""
    from scipy.stats import ttest_rel

    found: dict[str, dict[int, float]] = defaultdict(dict)
    with (ROOT / "results" / "runs.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["model"], row["epochs"], row["split"]) == ("resnet8", "100", "all"):
                found[row["method"]][int(row["seed"])] = float(row["accuracy"])
    ours, cas = ([found[name][seed] for seed in range(6)] for name in ("BMLS+MS", "CAS+FC"))
    words = said(text("docs/reproduce/cures.md"))
    assert f"(p = {welch(ours, cas):.3f})" in words
    assert f"gave p = {welch(ours[:3], cas[:3]):.2f}".replace("0.", ".") in words
    assert f"paired by seed p is {float(ttest_rel(ours, cas).pvalue):.3f}".replace("0.", ".") in words
