"""
What Prometheus and Grafana need to watch a stack's queues, from its config alone. Pure.
"""
