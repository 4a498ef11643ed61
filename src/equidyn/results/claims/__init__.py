"""The paper's claims, a row per run or axis, with verdicts computed from tables."""
