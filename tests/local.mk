# tests: part of the top Makefile
include tests/unit/ops.mk
