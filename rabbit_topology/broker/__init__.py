"""
The broker: the only package that speaks HTTP and AMQP. Imports `compiler` and `model`.
"""
