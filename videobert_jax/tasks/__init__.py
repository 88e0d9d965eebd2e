"""Downstream evaluations: what is measured, by which protocol, beside which baselines."""
