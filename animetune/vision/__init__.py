"""Models that look at pictures: taggers, aesthetic scorers, detectors.

    PIL pictures --preprocessing (pure)--> array --Session.run--> arrays --reading (pure)--> tags, scores, boxes

A model is a file that the user names (`assets.Asset`) and onnxruntime runs (`session.open_session`), or a classifier of
transformers (`aesthetics`). Whatever has a `run` stands in for a session, so that tests need neither.
"""
