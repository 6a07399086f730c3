// A program in TypeScript that uses what the stack of a broker exports.

import * as pulumi from "@pulumi/pulumi";

/** The URL of a service, or one for each host of the broker. */
type Urls = string | string[];

const config = new pulumi.Config();
const service = config.require("service");

// <organization>/<project>/<stack>. Where the state is in a folder or a bucket, the organization is
// "organization".
const broker = new pulumi.StackReference(config.require("broker"));

const serviceUrls = broker.requireOutput("service_urls") as pulumi.Output<Record<string, Urls>>;
const queueUrls = broker.requireOutput("queue_urls") as pulumi.Output<Record<string, Urls>>;

/** A secret, as it is in the stack that it comes from. */
export const url: pulumi.Output<string> = serviceUrls.apply((every) => {
    const urls = every[service];
    if (urls === undefined) {
        throw new Error(`${service} is not a service of the broker's stack`);
    }
    return typeof urls === "string" ? urls : urls[0];
});

/** The names of all queues. */
export const queues: pulumi.Output<string[]> = queueUrls.apply((every) => Object.keys(every).sort());
