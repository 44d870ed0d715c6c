"""The names of the figures, in the order of every table."""

KS = (1, 5, 10)  # of Rank-k
FIGURES = (*(f"R{k}" for k in KS), "mAP", "mINP")
