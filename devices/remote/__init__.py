"""Boards at the other end of a link: bundles are pushed, jobs run detached, and their records come back whole."""
