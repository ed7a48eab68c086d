"""Estimate the time and cost of a plan: work counted from configurations, prices measured."""

from sweeps.cost.estimate import Estimate, calibration_configs, estimate

__all__ = ["Estimate", "calibration_configs", "estimate"]
