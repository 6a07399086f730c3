"""The program that everyone writes first: the provider's resources and nothing else."""

import json
from pathlib import Path

import pulumi
import pulumi_rabbitmq as rabbitmq

topology = json.loads(Path("topology.json").read_text())
vhost = rabbitmq.VHost("vhost", name=topology["vhost"])
exchanges = {
    name: rabbitmq.Exchange(
        name,
        name=name,
        vhost=vhost.name,
        settings=rabbitmq.ExchangeSettingsArgs(type=one["type"], durable=True),
    )
    for name, one in topology["exchanges"].items()
}
queues = {
    name: rabbitmq.Queue(
        name,
        name=name,
        vhost=vhost.name,
        settings=rabbitmq.QueueSettingsArgs(durable=True, arguments={"x-queue-type": one["type"]}),
    )
    for name, one in topology["queues"].items()
}
for binding in topology["bindings"]:
    rabbitmq.Binding(
        f"{binding['source']} to {binding['queue']}",
        vhost=vhost.name,
        source=exchanges[binding["source"]].name,
        destination=queues[binding["queue"]].name,
        destination_type="queue",
        routing_key=binding["routing_key"],
    )
pulumi.export("vhost", vhost.name)
