module rabbit-topology/toolchain/terraform-cli

go 1.23.3

require github.com/hashicorp/terraform v1.11.4

// Modules inside Terraform's own, which no proxy serves under these versions. `terraform.py` writes
// stand-ins: the benchmark keeps its state in a local file.
replace (
	github.com/hashicorp/terraform/internal/backend/remote-state/azure => ./absent/azure
	github.com/hashicorp/terraform/internal/backend/remote-state/consul => ./absent/consul
	github.com/hashicorp/terraform/internal/backend/remote-state/cos => ./absent/cos
	github.com/hashicorp/terraform/internal/backend/remote-state/gcs => ./absent/gcs
	github.com/hashicorp/terraform/internal/backend/remote-state/kubernetes => ./absent/kubernetes
	github.com/hashicorp/terraform/internal/backend/remote-state/oss => ./absent/oss
	github.com/hashicorp/terraform/internal/backend/remote-state/pg => ./absent/pg
	github.com/hashicorp/terraform/internal/backend/remote-state/s3 => ./absent/s3
	github.com/hashicorp/terraform/internal/legacy => ./absent/legacy
)
