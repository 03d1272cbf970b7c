# integration tests of the host's core
dist_check_SCRIPTS += tests/integration/host.py tests/integration/loader.py tests/integration/reload.py tests/chaos/kill.py
TESTS += tests/integration/host.py tests/integration/loader.py tests/integration/reload.py tests/chaos/kill.py
EXTRA_DIST += tests/lib/fixture.py tests/plugins/fixture.c
