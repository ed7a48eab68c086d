"""Run trials on a Ray cluster.

Ray reads some environment variables when it is imported. They are set here because this package is
imported before any of its modules imports Ray; importing `sweeps` alone sets none.
"""

import os

# Tune's own output and files are not wanted, see `sweeps.cli.display`.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "inf")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if not os.environ.get("RAY_ADDRESS"):
    # On one machine the workers run in this very environment; on a cluster Ray sets it up.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
