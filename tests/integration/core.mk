# integration tests of the host's core
dist_check_SCRIPTS += tests/integration/loader.py tests/integration/reload.py tests/chaos/kill.py
TESTS += tests/integration/loader.py tests/integration/reload.py tests/chaos/kill.py
EXTRA_DIST += tests/lib/fixture.py tests/plugins/fixture.c
