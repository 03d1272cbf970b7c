# plugins: part of the top Makefile
include plugins/stores/sqlite/local.mk
include plugins/services.mk
