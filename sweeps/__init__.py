"""Many trials: grids and searches over `distill` trials, run by Ray, stored as Parquet."""

import os

# Here, because Ray reads them when it is imported, whichever module of ours does so first.
# Tune's own output and files are not wanted, see `sweeps.cli.display`.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "inf")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if not os.environ.get("RAY_ADDRESS"):
    # On one machine the workers run in this very environment; on a cluster Ray sets it up.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
