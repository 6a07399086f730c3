"""
What a deployed stack's services and users connect with, for those who need it.
"""
