"""Files: bundles, the writers of each target, and the proof that what they wrote computes the same function."""
