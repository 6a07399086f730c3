// Command pulumi-resource-rabbitmq serves the upstream RabbitMQ provider to the Pulumi engine under
// the type tokens that the Python package pulumi-rabbitmq uses.
package main

import (
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-sdk/v2/helper/schema"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/terraform-providers/terraform-provider-rabbitmq/rabbitmq"
)

const name = "rabbitmq"

// version is what the engine is asked for: the version of the Python package.
const version = "3.5.3"

func upstream() *schema.Provider {
	p := rabbitmq.Provider()
	// An exchange cannot be updated. Upstream 1.8.0 marks `settings` so, but not its fields, and
	// only a field's mark makes a change of that field a replacement.
	settings := p.ResourcesMap["rabbitmq_exchange"].Schema["settings"].Elem.(*schema.Resource)
	for _, field := range settings.Schema {
		field.ForceNew = true
	}
	readWhenKnown(p.ResourcesMap["rabbitmq_queue"])
	return p
}

// unknownConsumer is in the error for a consumer that the broker has no statistics of: its client
// cannot decode one. The broker learns of new consumers within seconds, and forgets those that are
// gone every two minutes.
const unknownConsumer = "ConsumerDetail"

const (
	patience = 150 * time.Second
	pause    = 250 * time.Millisecond
)

// readWhenKnown makes a queue be read again until the broker knows all of its consumers. The engine
// would keep a note of the failure, at which the next update fails.
func readWhenKnown(queue *schema.Resource) {
	create, read := queue.Create, queue.Read
	queue.Read = func(d *schema.ResourceData, meta interface{}) error {
		for began := time.Now(); ; time.Sleep(pause) {
			err := read(d, meta)
			if !isUnknownConsumer(err) || time.Since(began) > patience {
				return err
			}
		}
	}
	queue.Create = func(d *schema.ResourceData, meta interface{}) error {
		err := create(d, meta)
		if isUnknownConsumer(err) && d.Id() != "" { // made, and not read
			return queue.Read(d, meta)
		}
		return err
	}
}

func isUnknownConsumer(err error) bool {
	return err != nil && strings.Contains(err.Error(), unknownConsumer)
}

func env(variable string) *tfbridge.SchemaInfo {
	return &tfbridge.SchemaInfo{Default: &tfbridge.DefaultInfo{EnvVars: []string{variable}}}
}

func provider() tfbridge.ProviderInfo {
	info := tfbridge.ProviderInfo{
		P:       shimv2.NewProvider(upstream()),
		Name:    name,
		Version: version,
		// The other settings have their variables, RABBITMQ_ENDPOINT and so on, from upstream.
		Config: map[string]*tfbridge.SchemaInfo{
			"insecure":    env("RABBITMQ_INSECURE"),
			"cacert_file": env("RABBITMQ_CACERT"),
		},
		// These two are not what the name gives: VHost, not Vhost.
		Resources: map[string]*tfbridge.ResourceInfo{
			"rabbitmq_vhost": {Tok: "rabbitmq:index/vHost:VHost"},
		},
		DataSources: map[string]*tfbridge.DataSourceInfo{
			"rabbitmq_vhost": {Tok: "rabbitmq:index/getVHost:getVHost"},
		},
	}
	info.MustComputeTokens(tokens.SingleModule(name+"_", "index", tokens.MakeStandard(name)))
	info.SetAutonaming(255, "-")
	return info
}

func main() {
	// No schema: it is for generating code and documentation, and programs run without it.
	tfbridge.Main(name, version, provider(), nil)
}
