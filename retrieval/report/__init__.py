"""The evaluation report: one HTML file with metrics, charts and ranked images, which works offline."""
