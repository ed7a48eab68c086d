"""Networks for matching, clustering and evaluation."""
