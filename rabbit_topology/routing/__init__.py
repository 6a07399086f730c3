"""
Where every message goes, before it is deployed: worked out from the config, nothing is sent.

    pattern, tree, meet      one binding's key, many, and what two have in common
    keys, headers, messages  sets of routing keys, of headers, and of both, exactly
    network, origins         one vhost as messages see it, and where in the config that stands
    trace, lives             one message: from exchange to queues, and from queue to its end
    reach, changes           all messages: what leads to a queue, what two configs do differently
    expectations             what a config expects of its routes, and whether it holds
    text, as_json, commands  answers for people and for programs

No module that deploys, or decides about messages, imports this package.
"""
