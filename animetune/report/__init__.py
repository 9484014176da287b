"""Reports: what stages left on disk, as pages that can be read anywhere."""
