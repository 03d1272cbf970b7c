# harness of the integration tests
EXTRA_DIST += %D%/odto.py
