"""The kinds of trials, and the runner that resumes, saves and stops them."""
