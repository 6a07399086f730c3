"""
What a broker does now, and where it is not as a config says. Nothing here changes it.
"""
