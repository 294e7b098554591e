"""The second stages that a run can be: one row each."""

from __future__ import annotations

from training.registry.kinds import Stage

STEPS = {"epochs": 30, "lr": 0.1, "warmup": 5, "schedule": "steps", "drops": (1 / 3, 2 / 3), "weight_decay": 5e-4}
"""The recipe of BagofTricks-LT on CIFAR (Zhang et al. 2021)."""

STAGES: dict[str, Stage] = {
    row.name: row
    for row in (
        Stage(
            name="crt",
            title="cRT",
            help="a new classifier on frozen features",
            make="training.model.second_stage:new_classifier",
            defaults={**STEPS, "sampler": "cbs"},
            linear=False,
        ),
        Stage(
            name="lws",
            title="LWS",
            help="one learned scale per class on the frozen classifier's logits",
            make="training.model.second_stage:scaled_classifier",
            defaults={**STEPS, "sampler": "cbs"},
        ),
        Stage(
            name="mislas",
            title="MiSLAS",
            help="scales and classifier, with label-aware smoothing",
            make="training.model.second_stage:smoothed_classifier",
            settings={"head": "smooth_head", "tail": "smooth_tail"},
            # Zhong et al. 2021.
            defaults={
                "epochs": 10,
                "lr": 0.1,
                "warmup": 0,
                "schedule": "cosine",
                "weight_decay": 2e-4,
                "sampler": "cas",
            },
        ),
    )
}
"""What is trained on the features of a finished run, by the word of ``training.stage2 --method``."""
