"""
The engine's side: the component, its resources and hooks. The only package that knows Pulumi.
"""
