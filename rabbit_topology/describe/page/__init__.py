"""
A vhost as one HTML page that needs no network: for people, and for the teams of services.

    origins, defaults     what applies to a queue or exchange, and where each value comes from
    rights                who may do what
    flows, leaving        what gets into each queue, from whom, and what becomes of it there
    ways                  what the page's own script needs to say where a message goes
    view, places          all that the page shows, as plain values, and where it stands
    vhost, build          these values of one vhost, and of the page
    picture               the picture, to stand in a page
    html                  the values as HTML, by page.html.jinja, page.css and page.js

No module that deploys, or decides about messages, imports this package.
"""
