# plugins/bridges: what carries topics between hosts
include plugins/bridges/rabbitmq/local.mk
include plugins/bridges/nng/local.mk
