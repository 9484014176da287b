"""What DashAnime XL's pseudo-code would do, taken at its word; nobody trains on it, it is set beside what we do.

Its steps 2 and 3 sample TAGS from every category, and rebuild the data set from the tags that were drawn:

    for each category in dataset:
        sampled_tags = sample_tags(category, adjusted_sampling_frequency)
        add sampled_tags to balanced_dataset

So a picture comes in once for every tag of it that is drawn: with u_g uses of tags of category g in all, and n_g tags
of it on the picture,

    s_g = (median u / u_g)^a        picture: sum over g of n_g s_g

A picture with sixty tags is then seen far more often than one with six, whatever they show, and one without a tag is
never seen. Step 6 moves each bucket to the median, (median n / n_b)^b; limits are not mentioned, so there are none. The
exponents are those of the configuration, since the pseudo-code has only `reduce` and `increase`. What we do instead,
`tag_groups`, takes the mean over a picture's groups, and limits it.
"""

from __future__ import annotations

import numpy as np

from animetune.curate.weigh.formulas import bucket_factors


def literal_repeats(tags: np.ndarray, buckets: np.ndarray, *, groups: float, content: float) -> np.ndarray:
    """float64 (pictures,): how often each picture would be seen.

    `tags`: uint8 (pictures, groups), how many tags of each group a picture has; `buckets`: int (pictures,), from 0;
    `groups`, `content`: the strengths, in [0, 1].
    """
    uses = tags.sum(axis=0, dtype=np.int64)
    present = uses[uses > 0]
    sampling = (np.median(present) / np.maximum(uses, 1)) ** groups if len(present) else np.zeros(len(uses))
    repeats = np.zeros(len(tags))
    for index, frequency in enumerate(sampling):
        repeats += tags[:, index] * frequency
    return repeats * bucket_factors(buckets, repeats, strength=content)
