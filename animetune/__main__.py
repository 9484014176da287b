"""`python -m animetune` is the command `animetune`."""

from animetune.cli import main

main()
