"""`python -m animetune` is the command `animetune`."""

from animetune.cli import main

try:
    main()
except SystemExit:
    # Ctrl-C in the middle of exec("..."), by which dataclasses are made, leaves a mark in CPython, and `python -m`
    # then kills itself with SIGINT in place of the exit code (Py_RunMain). Any other string that runs takes it away.
    exec("")  # noqa: S102
    raise
