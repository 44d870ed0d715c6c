"""The test report: one HTML file with figures, curves and ranked pictures, which needs nothing else to be read."""

from retrieval.report.content import AblationRow, Curve, QueryExample, RankedImage, Scatter
from retrieval.report.page import write_report

__all__ = ["AblationRow", "Curve", "QueryExample", "RankedImage", "Scatter", "write_report"]
