"""Small sets whoever made them: read, checked against a data set, in one form."""
