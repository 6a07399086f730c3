"""
Replacements and deletions that lose nothing. Knows no Pulumi. Imports `messages` and what is below.
"""
