# tools: part of the top Makefile
include tools/dashboard/local.mk
