"""
From files and plain data to the model, with every problem that is found. Imports `compiler` and
`model`.
"""
