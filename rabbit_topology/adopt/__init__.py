"""
From a broker that is there to the config that describes it: read, expressed, proven, written.
"""
