"""From shards and labels to micro-batches, in an order that is a pure function of the seed and the epoch.

    labels.repeats --epoch_plan--> (step, micro-batch, row, copy) --dataset--> samples --loader--> Batch

`epoch_plan` decides, `dataset` reads through mosaicml-streaming and composes prompts, `loader` is what training
iterates over and what remembers the position.
"""
