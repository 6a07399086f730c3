"""
What queues hold, and how it is moved: exactly, or not at all. Imports `broker`, `compiler` and
`model`.
"""
