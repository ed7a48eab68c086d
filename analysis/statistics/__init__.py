"""Statistics of few numbers, as pure functions on arrays.

The unit is the trial: one number a seed. What does not exist, such as the interval of a single
number, is NaN, never 0.
"""
