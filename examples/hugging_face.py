"""BMLS and the mixed-singleton loss in Hugging Face's Trainer, with datasets from a folder or from parquet files.

python examples/hugging_face.py --data D               # D/train and D/test hold one folder of images per class
python examples/hugging_face.py --data D --parquet     # D/train*.parquet and D/test*.parquet: columns image, label
"""

import argparse

import numpy as np
import torch
from datasets import load_dataset
from torch.utils.data import default_collate
from transformers import AutoModelForImageClassification, ResNetConfig, Trainer, TrainingArguments

from training import BalancedMixedLabels, Pairs, by_count, mixed_singleton

SIZE = 32


class PairTrainer(Trainer):
    def _get_train_sampler(self, *unused):
        return self.train_dataset.sampler

    def compute_loss(self, model, inputs, return_outputs=False, **unused):
        mixture = [inputs.pop(name) for name in ("a", "b", "lam") if name in inputs]
        outputs = model(**inputs)
        loss = mixed_singleton(outputs.logits, *mixture, unordered=True) if mixture else outputs.loss
        return (loss, outputs) if return_outputs else loss


def collate(items):
    """Mix pairs; leave batches for testing as they are."""
    if isinstance(items[0], dict):
        return default_collate(items)
    x, y, a, b, lam = default_collate(items)
    weight = lam.view(-1, 1, 1, 1)
    return {"pixel_values": weight * x + (1 - weight) * y, "a": a, "b": b, "lam": lam}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--parquet", action="store_true")
    parser.add_argument("--model", help="a name or folder of the hub; by default a small ResNet without pretraining")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", default="hugging-face-run")
    options = parser.parse_args(arguments)
    files = {part: f"{options.data}/{part}{'*.parquet' if options.parquet else '/**'}" for part in ("train", "test")}
    data = load_dataset("parquet" if options.parquet else "imagefolder", data_files=files)

    def transform(rows):
        images = [image.convert("RGB").resize((SIZE, SIZE)) for image in rows["image"]]
        pixels = [torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1 for image in images]
        return {"pixel_values": pixels, "labels": rows["label"]}

    labels = np.array(data["train"]["label"])
    sampler = BalancedMixedLabels(by_count(labels), seed=0, batch=32, rank=0, world_size=1)  # Accelerate shares batches
    train = Pairs(data["train"].with_transform(transform), sampler, mix=False, image="pixel_values", label="labels")
    classes = data["train"].features["label"].num_classes
    sizes = dict(embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], layer_type="basic")
    small = ResNetConfig(**sizes, num_labels=classes)
    load, known = AutoModelForImageClassification, dict(num_labels=classes, ignore_mismatched_sizes=True)
    model = load.from_pretrained(options.model, **known) if options.model else load.from_config(small)
    settings = dict(num_train_epochs=options.epochs, per_device_train_batch_size=32, learning_rate=5e-3, seed=0)
    settings |= dict(report_to="none", save_strategy="no", remove_unused_columns=False, label_names=["labels"])
    trainer = PairTrainer(
        model,
        TrainingArguments(options.out, **settings),
        data_collator=collate,
        train_dataset=train,
        eval_dataset=data["test"].with_transform(transform),
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())},
    )
    trainer.train()
    print(f"accuracy {100 * trainer.evaluate()['eval_accuracy']:.1f} %")


if __name__ == "__main__":
    main()
