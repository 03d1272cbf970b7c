# integration tests of the host's core
dist_check_SCRIPTS += tests/integration/host.py tests/integration/loader.py tests/integration/reload.py tests/integration/full_disk.py tests/chaos/kill.py
TESTS += tests/integration/host.py tests/integration/loader.py tests/integration/reload.py tests/integration/full_disk.py tests/chaos/kill.py
dist_check_SCRIPTS += tests/integration/isolate.py tests/integration/isolate_reload.py
dist_check_SCRIPTS += tests/integration/monitoring.py
TESTS += tests/integration/monitoring.py
EXTRA_DIST += tests/monitoring/alerts.test.yml
TESTS += tests/integration/isolate.py tests/integration/isolate_reload.py
EXTRA_DIST += tests/lib/fixture.py tests/plugins/fixture.c tests/plugins/relay.c tests/plugins/rogue.c tests/plugins/pty_sick.c
