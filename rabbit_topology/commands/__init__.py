"""
``python -m rabbit_topology``: commands for people. They never load Pulumi.
"""
