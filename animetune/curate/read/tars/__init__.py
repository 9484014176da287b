"""Pictures of posts that lie in tars: found by the names of members, read at their offset, never unpacked.

    tars --listing--> TarFile --members, index_files--> one parquet of members a tar, kept --lookup--> image_candidates

While posts are parsed, a picture in tars stands as `UNRESOLVED...` and the name of its member, as the pattern makes it
of the post's fields; when the parts of the table are written, the names of each are looked up together.
"""
