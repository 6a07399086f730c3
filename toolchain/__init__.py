"""Tools that give the project a Pulumi engine and local RabbitMQ brokers."""
