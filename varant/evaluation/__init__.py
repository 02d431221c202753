"""Evaluation in three steps: features, statistics, scores; and teacher-forced likelihood."""
