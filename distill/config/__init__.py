"""Configurations of trials: frozen values, checked when built, identified by a hash."""
