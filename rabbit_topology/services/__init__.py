"""
What services are on the broker: users with the least they need, and passwords.

Imports `model` only.
"""
