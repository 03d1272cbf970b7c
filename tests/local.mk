# tests: part of the top Makefile
include tests/lib/local.mk
include tests/unit/ops.mk
include tests/unit/services.mk
include tests/unit/contracts.mk
include tests/http.mk
include tests/unit/sqlite.mk
include tests/unit/dashboard.mk
include tests/bench/load.mk
include tests/bench/route.mk
include %D%/unit/route.mk
include tests/unit/core.mk
include tests/integration/services.mk
include tests/integration/core.mk
include tests/unit/processor.mk
include tests/fuzz/local.mk
include tests/bench/bench.mk
include tests/integration/processor.mk
