module rabbit-topology/toolchain/terraform-provider

go 1.23.3

require github.com/terraform-providers/terraform-provider-rabbitmq v0.0.0-00010101000000-000000000000

// It calls itself by its old name. The same version as the plugin's, in ../plugin.
replace github.com/terraform-providers/terraform-provider-rabbitmq => github.com/cyrilgdn/terraform-provider-rabbitmq v1.8.0
