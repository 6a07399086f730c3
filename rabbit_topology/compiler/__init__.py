"""
What becomes of a topology on the broker: patterns spelled out, settings as policies, what applies
in the end, and names. Imports `model` only.
"""
