"""Captions of pictures: written by a vision model that is told the tags, made safe by rules, checked against the tags.

facts --templates--> request --server--> answer --parse--> Draft --style, checks--> caption, or a reason to retry
"""
