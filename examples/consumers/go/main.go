// A program in Go that uses what the stack of a broker exports.
package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/config"
)

func main() {
	pulumi.Run(program)
}

func program(ctx *pulumi.Context) error {
	settings := config.New(ctx, "")
	service := settings.Require("service")

	// <organization>/<project>/<stack>. Where the state is in a folder or a bucket, the organization
	// is "organization".
	broker, err := pulumi.NewStackReference(ctx, settings.Require("broker"), nil)
	if err != nil {
		return err
	}

	// A secret, as it is in the stack that it comes from.
	url := broker.GetOutput(pulumi.String("service_urls")).ApplyT(func(every any) (string, error) {
		return urlOf(service, every)
	}).(pulumi.StringOutput)
	ctx.Export("url", url)

	// The names of all queues.
	queues := broker.GetOutput(pulumi.String("queue_urls")).ApplyT(func(every any) ([]string, error) {
		byName, ok := every.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("the broker's stack exports no queue_urls")
		}
		return slices.Sorted(maps.Keys(byName)), nil
	}).(pulumi.StringArrayOutput)
	ctx.Export("queues", queues)
	return nil
}

// urlOf returns the URL of a service: the first one, where the broker has several hosts.
func urlOf(service string, every any) (string, error) {
	byName, ok := every.(map[string]any)
	if !ok {
		return "", fmt.Errorf("the broker's stack exports no service_urls")
	}
	switch urls := byName[service].(type) {
	case string:
		return urls, nil
	case []any:
		if first, ok := urls[0].(string); ok {
			return first, nil
		}
	}
	return "", fmt.Errorf("%s is not a service of the broker's stack", service)
}
