"""What a plan takes: its work counted from the configurations, priced by trials that have run."""

from sweeps.cost.estimate import Estimate, calibration_configs, estimate

__all__ = ["Estimate", "calibration_configs", "estimate"]
