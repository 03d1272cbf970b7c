include plugins/common/local.mk
include plugins/gateway/local.mk
include plugins/metrics/local.mk
