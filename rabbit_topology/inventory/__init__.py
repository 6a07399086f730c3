"""
What a broker has, compared with what a topology says. Imports `broker`, `services` and what is
below.
"""
