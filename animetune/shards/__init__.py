"""From a curated table to what the loader reads: shards of pixels or latents, and label sets.

    table --shard--> shard root        pixels once: decoded, resized, cropped and encoded, the expensive part
    table --labels--> label set        labels often: captions, tags, classes, repeats; minutes for millions of rows

`run.run` writes a root part by part, `labels.run` projects a table onto a root, `verify.verify` hashes a root.
"""
