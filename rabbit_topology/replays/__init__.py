"""
Replaying messages: which, where to, and what became of them. Values alone, no broker.
"""
