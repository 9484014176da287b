"""A whole recipe of seconds: twelve posts, two training stages of a few steps, pictures and an export."""

from __future__ import annotations

from pathlib import Path

from tests.builders import write_posts

STEPS = ("curate", "shard", "labels", "train.1", "train.2", "sample", "export")
"""The names of its steps."""
FILES = {
    "recipe": """
stage: recipe
name: tiny
title: Tiny
about: A recipe for tests.
source: here
hardware: one core
out: {folder}/made/recipe
steps: [curate.yaml, shard.yaml, labels.yaml, train.1.yaml, train.2.yaml, sample.yaml, export.yaml]
""",
    "curate": """
stage: curate
out: {folder}/made/table
sources:
  - name: made
    posts: [{folder}/posts/posts.jsonl]
    images: [{{root: {folder}/posts/images, path: "{{id}}.png"}}]
    captions: [{folder}/posts/captions.jsonl]
executor: {{workers: 0}}
""",
    "shard": """
stage: shard
table: {folder}/made/table
out: {folder}/made/shards
store: {{name: pixels, format: png}}
sizes: {{area: 4096, step: 8, min_side: 48, max_side: 96, max_ratio: 2.0}}
max_upscale: 2
shard_bytes: 40000
executor: {{workers: 0}}
""",
    "labels": """
stage: labels
table: {folder}/made/table
shards: {folder}/made/shards
out: {folder}/made/labels
""",
    "train.1": """
stage: train
run: {folder}/made/train.1
model: {{base: "random:tiny"}}
data:
  shards: {folder}/made/shards
  labels: {folder}/made/labels
  global_batch: 2
  micro_batch: 2
  workers: 0
  chunks: 1
optimizer: {{name: adafactor, unet_lr: 1e-4}}
loop: {{steps: {steps}, devices: 1, accelerator: cpu, log_every: 1}}
checkpoints: {{every: 2 steps, keep: 1}}
watch: {{tensorboard: false}}
""",
    "train.2": """
stage: train
include: train.1.yaml
run: {folder}/made/train.2
seed: 1
model: {{base: {folder}/made/train.1}}
""",
    "sample": """
stage: sample
model: {{base: {folder}/made/train.2}}
out: {folder}/made/samples
prompts: [a tree, a wall]
width: 64
height: 64
sampler: {{name: euler, steps: 2, cfg_scale: 2.0}}
device: cpu
""",
    "export": """
stage: export
base: {folder}/made/train.2
out: {folder}/made/export
formats: [single_file]
about: {{title: Tiny, license: openrail++, description: For tests.}}
""",
}


def write_recipe(folder: Path, *, posts: int = 12, steps: int = 2, data: bool = True) -> Path:
    """Write its files to `folder/configs` and, if wanted, its posts to `folder/posts`; returns recipe.yaml."""
    configs = folder / "configs"
    configs.mkdir(parents=True)
    for name, text in FILES.items():
        (configs / f"{name}.yaml").write_text(text.lstrip().format(folder=folder, steps=steps))
    if data:
        write_posts(folder / "posts", posts)
    return configs / "recipe.yaml"
