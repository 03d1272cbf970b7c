# integration tests of the processor and the handlers
dist_check_SCRIPTS += tests/integration/processor.py
if HAVE_CHECK
TESTS += tests/integration/processor.py
endif
