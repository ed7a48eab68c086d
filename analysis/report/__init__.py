"""The report: everything on one HTML page that needs nothing else."""

from analysis.report.page import page

__all__ = ["page"]
