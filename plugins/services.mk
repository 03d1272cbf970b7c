# the services gateway, metrics, read-model, web
include plugins/common/local.mk
include plugins/gateway/local.mk
include plugins/metrics/local.mk
include plugins/read-model/local.mk
include plugins/web/local.mk
