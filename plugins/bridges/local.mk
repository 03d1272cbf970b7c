# plugins/bridges: what carries topics between hosts
include plugins/bridges/rabbitmq/local.mk
