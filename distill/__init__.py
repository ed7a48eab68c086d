"""One trial: from a data set to a distilled one."""
