"""
What every problem has, whatever it is about.
"""

from __future__ import annotations


def says_all(problem):
    """Return a problem that has a place, a value, a rule and a way out, each of them in words."""
    texts = (problem.path, problem.value, problem.rule, problem.fix)
    assert all(isinstance(text, str) and text.strip() == text != "" for text in texts), problem
    assert not any("None" in text for text in texts), problem
    return problem
