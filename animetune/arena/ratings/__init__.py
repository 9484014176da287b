"""Ratings: votes in; strengths with intervals, and what else the votes say about models and voters, out. Pure."""

from animetune.arena.ratings.rate import rate
from animetune.arena.ratings.shapes import Ratings, Rules, Score, View

__all__ = ["Ratings", "Rules", "Score", "View", "rate"]
