"""Curation: from posts and pictures to a table of what is trained on, and why nothing else is.

    posts -ingest-> -filters-> -pictures-> -tags-> -dedup-> -classes-> -content-> -balance-> -split-> table

Each step of the `chain` publishes what it changes (`parts`), whole (`steps`), under a digest of all that it depends
on. So the same command goes on where it was stopped, and a changed setting re-runs its step and those behind it. Every
post that is read has one outcome: kept, dropped by a filter that has a name, or quarantined under a code. The stage is
`curate.run.run`.
"""
