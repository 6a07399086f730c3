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
        settings=rabbitmq.ExchangeSettingsArgs(type=it["type"], durable=True),
    )
    for name, it in topology["exchanges"].items()
}
queues = {
    name: rabbitmq.Queue(
        name,
        name=name,
        vhost=vhost.name,
        settings=rabbitmq.QueueSettingsArgs(durable=True, arguments={"x-queue-type": it["type"]}),
    )
    for name, it in topology["queues"].items()
}
for it in topology["bindings"]:
    rabbitmq.Binding(
        f"{it['source']} to {it['queue']}",
        vhost=vhost.name,
        source=exchanges[it["source"]].name,
        destination=queues[it["queue"]].name,
        destination_type="queue",
        routing_key=it["routing_key"],
    )
pulumi.export("vhost", vhost.name)
