"""The error that every part of the broker tool raises."""


class BrokerError(Exception):
    """A broker could not be found, built, started or stopped; the text says why and what to do."""
