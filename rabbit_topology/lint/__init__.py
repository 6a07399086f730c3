"""
Rules: what is wrong with a config, and what is risky. Imports what is pure, and nothing else.
"""
