"""Lists of single posts: what must never be used, and what was picked by hand."""

from __future__ import annotations

from pathlib import Path

from animetune.config import StrictModel


class ListsConfig(StrictModel):
    """Files that name single posts, a line each; a line that begins with `# ` is a comment.

    A post is named by its key (`danbooru/123`), by its id where there is one source, or by its MD5.
    """

    takedown: tuple[Path, ...] = ()
    """Posts that must not be used, dropped as `takedown` whatever else holds, with every post of any source that has
    the same MD5 or pixel hash. `artist:<tag>` names all posts of an artist."""
    include: tuple[Path, ...] = ()
    """Posts that pass every filter, and are kept where duplicates are dropped. A takedown goes before."""
