"""Topics of findings that tables of several kinds have."""

from analysis.tables.declarations import Topic

AGREEMENT = Topic(
    name="agreement",
    title="The printed order as a whole, under its own protocol",
    sentence="{table}: {cases}.",
)
BEST = Topic(
    name="best",
    title="Probability of being best (bootstrap over seeds; descriptive)",
)
SPREAD = Topic(
    name="spread",
    title="Where the spread comes from: seeds or networks",
    sentence="{table}: {cases}.",
)
TEST_IMAGES = Topic(
    name="test images",
    title="Differences with the uncertainty of the test images (bootstrap over images and seeds, "
    "each interval by itself: no verdicts)",
)
WEIGHTED = Topic(
    name="weighted",
    title="Weights in training, against the same images without (paired by seed)",
    subject="Weights in training",
    comparisons="comparisons with and without",
)
RANKS = Topic(
    name="ranks",
    title="Ranks over settings (Friedman, Nemenyi)",
)
QUALITY = Topic(
    name="quality",
    title="What goes with accuracy: quality of the clusterings (Spearman's ρ over all methods, "
    "bootstrap over seeds, each interval by itself)",
    sentence="{table}: {cases}.",
)
