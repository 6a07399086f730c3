"""
Pictures and AsyncAPI documents of a topology: made from the config, nothing is asked or sent.

    graph                     what a picture shows: nodes, edges and groups, as plain values
    build, notes, groups,
    services, secrets         one vhost as a graph
    focus, fold, changes      a part of a graph, a smaller one, and two compared
    part                      of two compared, what is different
    looks                     what kinds of nodes, edges and changes look like
    mermaid, dot, svg         a graph as text
    channels, asyncapi        one vhost as AsyncAPI documents
    page                      all of it as one HTML page

No module that deploys, or decides about messages, imports this package.
"""
