"""
What a change does, for a pull request: from a preview of it, and from the configs before and after.

    preview                   what `pulumi preview --json` says: steps, and what was said
    statements                what the program's own texts among that mean
    queues                    what becomes of each queue
    permissions, configs      what two configs do differently
    verdict                   all of it together, and what it comes to
    comment, as_json          for people, and for programs

What is refused or lost comes from the preview alone. Nothing is asked or sent here.
"""
