module rabbit-topology/toolchain/language-host

go 1.25.0

// The last version whose module contains the language host.
require github.com/pulumi/pulumi/sdk/v3 v3.75.0
