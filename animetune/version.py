"""The version of animetune, for those who must not import the whole package for it."""

VERSION = "0.1.0"
